/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause OR Apache-2.0
 *
 * Records of what the processes of the scope do: run programs, open connections, ask names, touch files. Same form and
 * rules as record.h; they stand in the same recordings, and a reader that does not know them skips them by size.
 *
 * Texts (paths, arguments) come before the record that they belong to, as records of their own from the same thread:
 * the ring keeps the order of one thread, and `texts` of the record says how many there must have been.
 */
#ifndef OISP_ACTIVITY_H
#define OISP_ACTIVITY_H

#include "record.h"

enum oisp_activity_kind {
  OISP_RECORD_TEXT = 16,            /* oisp_activity_text, then `size` bytes */
  OISP_RECORD_PROCESS_EVENT = 17,   /* oisp_activity_process */
  OISP_RECORD_NETWORK_EVENT = 18,   /* oisp_activity_network */
  OISP_RECORD_DNS_MESSAGE = 19,     /* oisp_activity_dns, then `size` bytes of the UDP payload */
  OISP_RECORD_FILE_EVENT = 20       /* oisp_activity_file */
};

enum oisp_text_slot {
  OISP_TEXT_EXE = 1,       /* the program that runs, as the process sees its path */
  OISP_TEXT_FILE = 2,      /* what exec was asked for: a script, where it differs */
  OISP_TEXT_DIRECTORY = 3, /* working directory */
  OISP_TEXT_ARGUMENTS = 4, /* a piece of the argument block; pieces are numbered */
  OISP_TEXT_PATH = 5,      /* of an open file */
  OISP_TEXT_NAME = 6,      /* as the call gave it; relative to BASE */
  OISP_TEXT_BASE = 7,
  OISP_TEXT_NEW_NAME = 8,
  OISP_TEXT_NEW_BASE = 9
};

enum oisp_text_flags {
  OISP_TEXT_CUT = 1,  /* longer than what is here */
  OISP_TEXT_FAULT = 2 /* could not be read */
};

typedef struct oisp_activity_text {
  oisp_record head;
  OISP_U32 tid;
  OISP_U16 slot;  /* enum oisp_text_slot */
  OISP_U16 flags; /* enum oisp_text_flags */
  OISP_U32 size;  /* bytes that follow this struct */
  OISP_U32 index; /* ARGUMENTS: number of the piece */
} oisp_activity_text;

/* What every activity record begins with. */
typedef struct oisp_activity {
  oisp_record head;
  OISP_U64 ts;
  OISP_U64 start_time; /* of the process: with pid its identity */
  OISP_U64 cgroup;
  OISP_U32 pid;
  OISP_U32 tid;
  OISP_U32 uid;
  OISP_U32 gid;
  OISP_U32 ppid;
  OISP_U16 event; /* enum of the kind */
  OISP_U16 texts; /* text records that came before this one and belong to it */
} oisp_activity;

/* event: enum oisp_process_event. EXEC: bit 0 of head.flags: what runs is not the file that was asked for, but an
 * interpreter of it. */
typedef struct oisp_activity_process {
  oisp_activity base;
  OISP_U32 status;    /* EXIT: wait status */
  OISP_U32 child;     /* FORK: the new process */
  OISP_U64 child_start;
  OISP_U64 arguments; /* EXEC: size of the argument block */
  OISP_U64 user_ns;   /* EXIT: processor time */
  OISP_U64 system_ns;
} oisp_activity_process;

enum oisp_network_event {
  OISP_NETWORK_CONNECT = 1,
  OISP_NETWORK_ACCEPT = 2,
  OISP_NETWORK_FLOW = 3,   /* the connection has ended */
  OISP_NETWORK_INTERIM = 4 /* a flow that goes on */
};

typedef struct oisp_activity_network {
  oisp_activity base;
  OISP_U64 socket; /* names the connection among these records */
  OISP_U64 opened; /* when connect was called, or the connection was accepted */
  OISP_U64 bytes_sent;
  OISP_U64 bytes_received;
  OISP_U64 packets_sent;
  OISP_U64 packets_received;
  OISP_U8 local_ip[16]; /* IPv4 as ::ffff:a.b.c.d */
  OISP_U8 remote_ip[16];
  OISP_U16 local_port;
  OISP_U16 remote_port;
  OISP_U16 error;   /* errno of a connect that failed */
  OISP_U8 accepted; /* 1: this side was called */
  OISP_U8 reserved;
} oisp_activity_network;

enum oisp_dns_event { OISP_DNS_QUERY = 1, OISP_DNS_ANSWER = 2 };

typedef struct oisp_activity_dns {
  oisp_activity base;
  OISP_U64 asked; /* ANSWER: when the query left */
  OISP_U8 server_ip[16];
  OISP_U16 local_port;
  OISP_U16 server_port;
  OISP_U32 size;
} oisp_activity_dns;

enum oisp_file_event {
  OISP_FILE_OPEN = 1,  /* PATH goes with it: what `file` names from here on */
  OISP_FILE_CLOSE = 2, /* one process is done with it: sums of what it moved */
  OISP_FILE_DELETE = 3,
  OISP_FILE_RENAME = 4,
  OISP_FILE_RMDIR = 5
};

enum oisp_file_state {
  OISP_FILE_CREATED = 1,
  OISP_FILE_TRUNCATED = 2,
  OISP_FILE_INHERITED = 4, /* opened by another process, or before capture began */
  OISP_FILE_AT_END = 8     /* a read answered 0: the end of the file was met */
};

typedef struct oisp_activity_file {
  oisp_activity base;
  OISP_U64 file;
  OISP_U64 opened;
  OISP_U64 inode;
  OISP_U64 size; /* OPEN, CLOSE: of the file */
  OISP_U64 read;
  OISP_U64 written;
  OISP_U32 device;
  OISP_U32 flags; /* of open(2) */
  OISP_U32 mode;
  OISP_U32 state; /* enum oisp_file_state */
  OISP_U32 fd;
  OISP_U32 reserved;
} oisp_activity_file;

#ifndef __cplusplus
_Static_assert(sizeof(oisp_activity_text) == 24, "ABI");
_Static_assert(sizeof(oisp_activity) == 56, "ABI");
_Static_assert(sizeof(oisp_activity_process) == 96, "ABI");
_Static_assert(sizeof(oisp_activity_network) == 144, "ABI");
_Static_assert(sizeof(oisp_activity_dns) == 88, "ABI");
_Static_assert(sizeof(oisp_activity_file) == 128, "ABI");
#endif

#endif
