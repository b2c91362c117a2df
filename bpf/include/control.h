/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
 *
 * What the loader and the programs of tls.bpf.c say to each other: the settings written before the load, the number of
 * each probed function, the keys and values of the maps that the loader reads. `oisp_sensor/capture/program.py` has the
 * same numbers, and a test reads this file to compare them.
 */
#ifndef OISP_BPF_CONTROL_H
#define OISP_BPF_CONTROL_H

#include "oisp/record.h"

/* Which function a probe sits on: the attach cookie, or the program's name where the kernel has no cookies. */
enum function {
  FN_READ = 1,      /* int SSL_read(ssl, buffer, int size) */
  FN_WRITE = 2,     /* int SSL_write(ssl, buffer, int size) */
  FN_READ_EX = 3,   /* int SSL_read_ex(ssl, buffer, size, size_t *moved) */
  FN_WRITE_EX = 4,  /* int SSL_write_ex(ssl, buffer, size, size_t *moved) */
  FN_WRITE_EX2 = 5, /* int SSL_write_ex2(ssl, buffer, size, flags, size_t *moved) */
  FN_NEW = 6,       /* SSL *SSL_new(context) */
  FN_FREE = 7,      /* void SSL_free(ssl) */
  FN_CLEAR = 8,     /* int SSL_clear(ssl) */
  FN_SHUTDOWN = 9,  /* int SSL_shutdown(ssl): 1 when both sides have said goodbye */
  FN_UP_REF = 10,   /* int SSL_up_ref(ssl): the next SSL_free does not free */
  FN_ACCEPT = 11,   /* SSL_accept(ssl), SSL_set_accept_state(ssl): this side is the server */
  FN_CTRL = 12,     /* long SSL_ctrl(ssl, command, long, void *): one command sets the server's name */
  FN_GO_READ = 13,  /* func (c *Conn) Read(b []byte) (int, error), of Go's crypto/tls */
  FN_GO_WRITE = 14, /* func (c *Conn) Write(b []byte) (int, error) */
  FN_GO_CLOSE = 15, /* func (c *Conn) Close() error */
  FN_GO_CLIENT = 16, /* func (c *Conn) clientHandshake(ctx): once per connection, before its first byte */
  FN_GO_SERVER = 17, /* func (c *Conn) serverHandshake(ctx) */
  FN_RECV = 18,      /* ssize_t f(handle, buffer, size): GnuTLS */
  FN_SEND = 19,
  FN_HANDSHAKE = 20, /* int f(handle): a handle that nobody knew is fresh */
  FN_SENDFILE = 21, /* ssize_t SSL_sendfile(ssl, fd, offset, size, flags): bytes that no user buffer ever holds */
  FN_SERVER_NAME = 22, /* int gnutls_server_name_set(session, type, name, size) */
  FN_UNCORK = 23, /* gnutls_record_uncork(session, wait): sends again, to the wire, what was written before */
  FN_HOST_NAME = 24, /* int SSL_set_tlsext_host_name(ssl, name): BoringSSL has it as a function */
  FN_BEGIN = 25, /* int SSL_do_handshake(ssl), where SSL_new is not known: a handle that moved bytes is a new one */
  FN_ALPN = 26, /* SSL_set_alpn_protos(ssl, list, size): what the client will offer */
  FN_CONTEXT_ALPN = 27 /* SSL_CTX_set_alpn_protos(context, list, size): for all handles made of it from now on */
};

#define COOKIE_RETURN 256 /* set in the cookie of a RET; the rest is the function */
#define COOKIE_AFTER 1024 /* set with COOKIE_RETURN: a uretprobe, which comes when the return address was taken off */
#define COOKIE_SHARED 512 /* a RET where others return too: of a function that the probed one ends in */

enum scope_mode { SCOPE_TREE = 1, SCOPE_CGROUP = 2, SCOPE_UID = 3, SCOPE_ALL = 4, SCOPE_EXE = 5 };

struct settings {
  u32 mode; /* enum scope_mode; TREE is the table of process ids, grown at fork when `follow` is set */
  u32 follow; /* children of the processes in the table join it */
  u32 self[2]; /* thread groups of the sensor itself, never in scope */
  u32 uid; /* SCOPE_UID */
  u32 cgroup_level; /* SCOPE_CGROUP: depth of `cgroup` below the root of the unified hierarchy */
  u64 cgroup;
  u64 wake_bytes; /* wake the reader when this much waits: a quarter of the ring */
  u64 exe_inode; /* SCOPE_EXE: the executable, as the kernel names it; its processes stand in the table */
  u32 exe_device;
  u32 plaintext; /* HTTP on plain sockets is captured too */
  u32 guard;     /* what the probes cost each process is counted */
  u32 zero;
};

/* Value of the scope table. The loader knows a start only to the clock tick, the fork hook to the nanosecond: the
 * process is the same one when it started less than a tick after what stands here. */
struct member {
  u64 start_time;
};
#define CLOCK_TICK_NS 10000000ULL /* USER_HZ is 100 on every architecture we build for */

#define EXEC_BY_THREAD 1 /* status of an EXEC record: the caller was not the leader, and took its place and number */

/* Index of the loss counters: enum oisp_lost_cause, and 0 for records of the control ring. */
#define LOSS_CONTROL 0
#define LOSS_CAUSES 8
struct loss {
  u64 records;
  u64 bytes[2];
};

/* What the probes cost a process, in scope or not. The traps themselves are no part of `ns`: the loader measures what one
 * costs on this machine. */
struct cost {
  u64 traps;
  u64 ns; /* spent in the programs */
};
#define COST_MAX_NS 1000000 /* of one run: what is longer was preempted */

struct handle {
  u64 ssl;
  u32 tgid;
  u32 zero;
};

/* What a socket was found to carry, by the first bytes that were seen. */
#define SOCKET_HTTP 1
#define SOCKET_OTHER 2
#define MAX_PIECES 16 /* buffers of one writev or sendmsg that are read; the rest is a hole of known length */

/* Standard input and output of a process, as they were when it was first seen to read or write: the kernel's files, which
 * keep their addresses when descriptors are duplicated. */
#define STDIO_UNDECIDED 0
#define STDIO_RPC 1
#define STDIO_OTHER 2
#define STDIO_LOOK 1024 /* first bytes of the input in which JSON-RPC must show */
#define STDIO_HANDLE 1 /* key of the connection, with the thread group: no handle of a library lies there */
struct stdio {
  u64 start_time;
  u64 in;
  u64 out;
  u32 class;
  u32 zero;
};

/* The worker's verdicts: slot by connection, value id << 2 | level. A foreign id in the slot is no verdict: a collision
 * costs only what could have been spared. The worker has the table mapped and stores whole values. */
#define VERDICT_SLOTS 65536
#define VERDICT_HEAD 1 /* the first KiB of each call */
#define VERDICT_NOTHING 2 /* no byte of it */
#define VERDICT_HEAD_BYTES 1024
#define VERDICT_LEVELS 3

struct spared {
  u64 calls;
  u64 bytes[2];
};

#define CONN_OPENED 1 /* OPEN was put into the ring */
#define CONN_CLOSED 2 /* CLOSE was: only the handle is left */
#define CONN_ADDRESS 4 /* the addresses are known */
#define CONN_NAME 8 /* the server's name is: it stands in `names` */
#define CONN_TOLD 16 /* ADDRESS was put into the ring, with what was known then */

struct conn {
  u64 id;
  u64 start_time;
  u64 cgroup;
  u64 offset[2];
  u64 lost[2];
  u32 sequence[2];
  u32 uid;
  u32 gid;
  u32 flags; /* enum oisp_record_flags */
  u32 state; /* CONN_* */
  s32 references;
  u32 zero;
  u8 local_ip[16];
  u8 remote_ip[16];
  u16 local_port; /* host byte order */
  u16 remote_port;
  u32 untold_cause; /* of the latest loss, enum oisp_lost_cause */
  u64 told[2]; /* of `lost`, what LOST records have said */
  u64 untold_records; /* lost since the last of them */
};

#define NAME_MAX 248 /* a server name has at most 253 bytes; nearly all have less than 100 */

#define ALPN_MAX 64 /* of a list: names behind their lengths. The usual ones take 12 bytes */

struct name {
  u32 size; /* without the NUL */
  u32 alpn_size;
  u8 text[NAME_MAX];
  u8 alpn[ALPN_MAX];
};

struct protocols {
  u64 size;
  u8 list[ALPN_MAX];
};

#define CALL_DEPTH 4 /* nested TLS calls of one thread: a callback inside a read that writes, and two to spare */

struct call {
  u64 stack; /* stack pointer at entry: what names the call. Go moves stacks: its distance from their upper end */
  u64 ssl;
  u64 buffer;
  u64 size;
  u64 moved; /* where the _ex functions store their count */
  u64 entered;
  u32 function;
  u32 inner; /* a wrapper's call of the other function for the same bytes */
  u64 on_stack; /* Go: the buffer lies on the stack itself, `buffer` is its distance from the upper end */
};

/* A goroutine, by the address of its descriptor; it may return on another thread than it called on. */
struct goroutine {
  u64 g;
  u32 tgid;
  u32 zero;
};

/* What the records of one call have in common; the first chunk's offset and sequence. */
struct transfer {
  struct oisp_record_data head;
  u64 from;
  u64 whole; /* chunks of full size */
  u64 rest;
};

/* A system call on a plain socket: the buffers that the program gave, and how much of what moved is left to read. */
struct plain_call {
  struct call call;
  u64 pid_tgid;
  u64 pieces; /* where the table of buffers is; 0: one buffer, in `call` */
  u64 count;
  u64 left;
};

struct thread {
  u32 depth;
  u32 zero;
  u64 returned; /* stack pointer of the call that was taken off last: a second probe on the same RET is no loss */
  struct call calls[CALL_DEPTH];
  struct transfer transfer;
  u64 pending; /* handle whose ciphertext this thread is about to send, when the library does not send by itself */
  u64 pending_size;
  struct plain_call plain;
  u64 context; /* of the SSL_new that this thread is in */
};

_Static_assert(sizeof(struct thread) <= 1024, "THREAD_SIZE of the loader");

#endif
