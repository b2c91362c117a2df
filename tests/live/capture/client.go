// SPDX-License-Identifier: Apache-2.0

// A TLS server and clients of crypto/tls in one process, each connection on goroutines of its own.
// Usage: client CERT KEY SIZE CLIENTS [STACK]. Prints the addresses that both ends see. With STACK the server reads into
// its goroutine's stack, and that stack grows and moves meanwhile.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
)

func pattern(b []byte, seed int) {
	for i := range b {
		b[i] = byte((i%251*7 + seed) % 251)
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer(c net.Conn, size int) {
	got := make([]byte, size)
	_, err := io.ReadFull(c, got)
	must(err)
	for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
		got[i], got[j] = got[j], got[i]
	}
	_, err = c.Write(got)
	must(err)
	fmt.Println("server", c.LocalAddr(), c.RemoteAddr())
	c.Close()
}

// The handshake happens inside the first Read: it needs more stack than a new goroutine has.
func answerOnStack(c *tls.Conn, size int) {
	var got [1500]byte
	for n := 0; n < size; {
		m, err := c.Read(got[n:size])
		must(err)
		n += m
	}
	back := make([]byte, size)
	for i := range back {
		back[i] = got[size-1-i]
	}
	_, err := c.Write(back)
	must(err)
	c.Close()
}

func ask(address string, size, seed int) {
	raw, err := net.Dial("tcp", address)
	must(err)
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	fmt.Println("client", c.LocalAddr(), c.RemoteAddr())
	data := make([]byte, size)
	pattern(data, seed)
	_, err = c.Write(data)
	must(err)
	got, err := io.ReadAll(c)
	must(err)
	if len(got) != size {
		must(fmt.Errorf("%d bytes of %d", len(got), size))
	}
	c.Close()
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	must(err)
	size, err := strconv.Atoi(os.Args[3])
	must(err)
	clients, err := strconv.Atoi(os.Args[4])
	must(err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	must(err)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			if len(os.Args) > 5 {
				go answerOnStack(c.(*tls.Conn), size)
			} else {
				go answer(c, size)
			}
		}
	}()
	var wait sync.WaitGroup
	for i := 0; i < clients; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			ask(listener.Addr().String(), size, i)
		}(i)
	}
	wait.Wait()
}
