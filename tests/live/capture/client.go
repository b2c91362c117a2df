// SPDX-License-Identifier: Apache-2.0

// A TLS server and clients of crypto/tls in one process, each connection on goroutines of its own.
// Usage: client CERT KEY SIZE CLIENTS [STACK]. Prints the addresses that both ends see. With STACK the client's bytes lie
// on its goroutine's stack, and that stack grows while they are written.
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

func onHeap(c *tls.Conn, size, seed int) {
	data := make([]byte, size)
	pattern(data, seed)
	_, err := c.Write(data)
	must(err)
}

func onStack(c *tls.Conn, seed int) {
	var data [1500]byte
	pattern(data[:], seed)
	_, err := c.Write(data[:])
	must(err)
}

func ask(address string, size, seed int, stack bool) {
	raw, err := net.Dial("tcp", address)
	must(err)
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	fmt.Println("client", c.LocalAddr(), c.RemoteAddr())
	if stack {
		onStack(c, seed) // the handshake happens inside this Write: it needs more stack than the goroutine has
	} else {
		onHeap(c, size, seed)
	}
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
			go answer(c, size)
		}
	}()
	var wait sync.WaitGroup
	for i := 0; i < clients; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			ask(listener.Addr().String(), size, i, len(os.Args) > 5)
		}(i)
	}
	wait.Wait()
}
