/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause OR Apache-2.0
 *
 * The one ABI between kernel programs, engine, recordings and embedders: little-endian, every size a multiple of 8,
 * header first and payload last. A reader skips kinds that it does not know by `size`; fields are only ever added at the
 * end of a body, and a reader takes what it knows and finds the payload by `header_size`.
 *
 * Times are CLOCK_MONOTONIC nanoseconds in the kernel's records; a recording's header carries the offset to Unix time.
 */
#ifndef OISP_RECORD_H
#define OISP_RECORD_H

#ifndef __bpf__
#include <stdint.h>
#define OISP_U8 uint8_t
#define OISP_U16 uint16_t
#define OISP_U32 uint32_t
#define OISP_U64 uint64_t
#else
#define OISP_U8 unsigned char
#define OISP_U16 unsigned short
#define OISP_U32 unsigned int
#define OISP_U64 unsigned long long
#endif

#define OISP_RECORD_ALIGN 8
#define OISP_RECORD_CHUNK 16384 /* payload bytes in one data record: one TLS record; what the verifier and rings like */

enum oisp_record_kind {
  OISP_RECORD_DATA = 1, /* oisp_record_data, then `captured` bytes */
  OISP_RECORD_OPEN = 2, /* oisp_record_conn: a TLS handle was seen for the first time */
  OISP_RECORD_CLOSE = 3, /* oisp_record_conn: freed, cleared or shut down */
  OISP_RECORD_ADDRESS = 4, /* oisp_record_address, then SNI and ALPN bytes; comes again when more is known */
  OISP_RECORD_LOST = 5, /* oisp_record_lost: what could not be put into the ring */
  OISP_RECORD_PROCESS = 6, /* oisp_record_process: fork, exec, exit of a process of the scope */
  OISP_RECORD_CONTEXT = 7 /* oisp_record_context, then ready-encoded JSON members for set_context() */
};

enum oisp_direction {
  OISP_WRITE = 0, /* the process wrote these bytes */
  OISP_READ = 1 /* the process read these bytes */
};

enum oisp_record_flags {
  OISP_RECORD_MIDWAY = 1, /* the connection was already in use when capture first saw it */
  OISP_RECORD_SERVER = 2, /* the handle accepts (known from the library), else unknown */
  OISP_RECORD_SHORT = 4, /* captured < what this piece should hold: the rest faulted or was spared */
  OISP_RECORD_PLAINTEXT = 8, /* not from a TLS library: a plain socket */
  OISP_RECORD_STDIO = 16 /* with PLAINTEXT: the standard streams of a process, JSON-RPC in lines; SERVER: its own */
};

typedef struct oisp_record {
  OISP_U32 size; /* of the whole record with payload and padding, multiple of 8 */
  OISP_U16 kind;
  OISP_U16 flags;
} oisp_record;

/* One piece of one read or write call. A call longer than OISP_RECORD_CHUNK is several records: same ts, same
 * call_size, consecutive offsets. */
typedef struct oisp_record_data {
  oisp_record head;
  OISP_U64 conn; /* opaque, given once when capture first sees a handle, never reused in a recording */
  OISP_U64 ts_enter; /* entry of the call */
  OISP_U64 ts_return; /* return of the call */
  OISP_U64 offset; /* of payload[0] in the stream of this direction, counted from the first byte of the connection */
  OISP_U64 call_size; /* bytes that the whole call moved */
  OISP_U64 cgroup;
  OISP_U64 start_time; /* of the process, nanoseconds since boot: pid + start_time names a process for ever */
  OISP_U32 pid; /* thread group id in the initial pid namespace */
  OISP_U32 tid;
  OISP_U32 uid;
  OISP_U32 captured; /* payload bytes in this record */
  OISP_U32 sequence; /* of this record within its direction, from 0: a jump is a loss even without bytes */
  OISP_U16 header_size; /* sizeof this struct as the writer knew it: payload starts there */
  OISP_U8 direction; /* enum oisp_direction */
  OISP_U8 reserved;
} oisp_record_data;

typedef struct oisp_record_conn {
  oisp_record head;
  OISP_U64 conn;
  OISP_U64 ts;
  OISP_U64 cgroup;
  OISP_U64 start_time;
  OISP_U32 pid;
  OISP_U32 tid;
  OISP_U32 uid;
  OISP_U32 gid;
  OISP_U64 bytes[2]; /* CLOSE: bytes of each direction that the handle moved; OPEN: 0 */
  OISP_U64 lost[2]; /* CLOSE: of those, bytes that never reached the ring */
} oisp_record_conn;

typedef struct oisp_record_address {
  oisp_record head;
  OISP_U64 conn;
  OISP_U64 ts;
  OISP_U8 local_ip[16]; /* IPv4 as ::ffff:a.b.c.d; all zero: the addresses are not known (yet) */
  OISP_U8 remote_ip[16];
  OISP_U16 local_port; /* host byte order */
  OISP_U16 remote_port;
  OISP_U16 tls_version; /* 0x0304 = TLS 1.3; 0 unknown */
  OISP_U8 sni_size; /* bytes that follow this struct: server name, then ALPN */
  OISP_U8 alpn_size; /* protocols that the client offers, each behind its length, as in the extension (RFC 7301) */
} oisp_record_address;

typedef struct oisp_record_lost {
  oisp_record head;
  OISP_U64 conn; /* 0: not known which */
  OISP_U64 ts;
  OISP_U64 bytes[2]; /* by direction */
  OISP_U64 records;
  OISP_U32 cause; /* enum oisp_lost_cause */
  OISP_U32 reserved;
} oisp_record_lost;

enum oisp_lost_cause {
  OISP_LOST_RING_FULL = 1,
  OISP_LOST_FAULT = 2, /* the buffer could not be read */
  OISP_LOST_STATE = 3, /* no entry state for a return: attached in mid-call, or the state table was full */
  OISP_LOST_TOO_LARGE = 4
};

enum oisp_process_event { OISP_PROCESS_FORK = 1, OISP_PROCESS_EXEC = 2, OISP_PROCESS_EXIT = 3 };

typedef struct oisp_record_process {
  oisp_record head;
  OISP_U64 ts;
  OISP_U64 start_time;
  OISP_U64 cgroup;
  OISP_U32 event;
  OISP_U32 pid;
  OISP_U32 ppid;
  OISP_U32 uid;
  OISP_U32 gid;
  OISP_U32 status; /* EXIT: wait status */
} oisp_record_process;

typedef struct oisp_record_context {
  oisp_record head;
  OISP_U64 conn;
  OISP_U32 member_size; /* bytes of JSON members that follow: "host":{...},"process":{...} */
  OISP_U32 reserved;
} oisp_record_context;

/* A recording: this header, then records until the end of the file. */
#define OISP_RECORDING_MAGIC 0x0150534f4953494fULL /* "OISIOSP\1" read as bytes: O I S I O S P 01 */
#define OISP_RECORDING_VERSION 1

typedef struct oisp_recording_header {
  OISP_U64 magic;
  OISP_U32 version;
  OISP_U32 header_size; /* of this struct and the JSON that follows it, multiple of 8: the first record is there */
  OISP_U64 clock_base_ns; /* Unix nanoseconds = clock_base_ns + ts of a record */
  OISP_U32 json_size; /* UTF-8 JSON object after this struct: host, scope, tool version */
  OISP_U32 reserved;
} oisp_recording_header;

#ifndef __cplusplus
_Static_assert(sizeof(oisp_record) == 8, "ABI");
_Static_assert(sizeof(oisp_record_data) == 88, "ABI");
_Static_assert(sizeof(oisp_record_conn) == 88, "ABI");
_Static_assert(sizeof(oisp_record_address) == 64, "ABI");
_Static_assert(sizeof(oisp_record_lost) == 56, "ABI");
_Static_assert(sizeof(oisp_record_process) == 56, "ABI");
_Static_assert(sizeof(oisp_record_context) == 24, "ABI");
_Static_assert(sizeof(oisp_recording_header) == 32, "ABI");
#endif

#endif
