/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
 *
 * Probes on the functions of OpenSSL that move plaintext, and tracepoints that follow the processes of the scope.
 * Writes the records of oisp/record.h into `ring` (traffic) and `control` (processes): nothing else leaves the kernel.
 *
 * Buffers are read at return: the page is present then, and the length is what the call really moved. Nothing goes
 * through per-CPU scratch: probes can be preempted, so a record is written where it was reserved.
 *
 * Two builds: OISP_MODERN (Linux 5.17 and later: bpf_loop, cookies, fetching atomics) and the basic one (5.8 and later:
 * bounded loops, one program per function).
 */
#include "kernel.h"

#include "control.h"
#include "oisp/record.h"
#include "scope.h"

#ifndef OISP_SOURCE_HASH
#define OISP_SOURCE_HASH "unbuilt"
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";
const volatile char oisp_source_hash[65] SEC(".rodata") = OISP_SOURCE_HASH;

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
  MAP_NUMBER(max_entries, 16 << 20);
} ring SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
  MAP_NUMBER(max_entries, 256 << 10);
} control SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 16384);
  MAP_TYPE(key, u64);
  MAP_TYPE(value, struct thread);
} threads SEC(".maps");

/* One empty thread, never written: too large for the stack. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, 1);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, struct thread);
} blank SEC(".maps");

/* Calls in progress of goroutines; an entry goes when its last call returns, so that most are never there together. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 16384);
#ifdef OISP_MODERN /* kernels of the basic build warn of such maps in tracing programs */
  MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
#endif
  MAP_TYPE(key, struct goroutine);
  MAP_TYPE(value, struct thread);
} goroutines SEC(".maps");

/* Sockets of the scope that were looked at, by address of the kernel's struct. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
  MAP_NUMBER(max_entries, 16384);
  MAP_TYPE(key, u64);
  MAP_TYPE(value, u32);
} sockets SEC(".maps");

/* Processes of the scope whose standard streams were looked at. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
  MAP_NUMBER(max_entries, 16384);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, struct stdio);
} stdio SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, VERDICT_SLOTS);
  MAP_NUMBER(map_flags, BPF_F_MMAPABLE);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, u64);
} verdicts SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, VERDICT_LEVELS);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, struct spared);
} spared SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 65536);
  MAP_TYPE(key, struct handle);
  MAP_TYPE(value, struct conn);
} conns SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 16384);
  MAP_TYPE(key, struct handle);
  MAP_TYPE(value, struct name);
} names SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, 1);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, struct name);
} blank_name SEC(".maps");

/* What the handles of a context will offer; contexts are few, and their ends are not watched. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
  MAP_NUMBER(max_entries, 4096);
  MAP_TYPE(key, struct handle);
  MAP_TYPE(value, struct protocols);
} contexts SEC(".maps");

/* Thread groups with entries in `conns`, and how many: spares every other process the walk at its exit. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 32768);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, u64);
} holders SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, LOSS_CAUSES);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, struct loss);
} losses SEC(".maps");

/* Of every process that hits a probe, in scope or not; an entry goes with its process. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 16384);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, struct cost);
} costs SEC(".maps");

#ifdef OISP_MODERN
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, 1);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, u64);
} next_id SEC(".maps");
#endif

/* ---- account ---- */

INLINE void count_loss(u32 cause, u64 records, int direction, u64 bytes) {
  struct loss *l = bpf_map_lookup_elem(&losses, &cause);
  if (!l)
    return;
  __sync_fetch_and_add(&l->records, records);
  if (!bytes) /* of a constant zero the compiler makes an atomic OR, which no kernel before 5.12 loads */
    return;
  if (direction == OISP_WRITE)
    __sync_fetch_and_add(&l->bytes[0], bytes);
  else
    __sync_fetch_and_add(&l->bytes[1], bytes);
}

/* One run of a program: what the guard of the loader adds up. */
INLINE void charge(u64 began) {
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  u64 spent = bpf_ktime_get_ns() - began;
  struct cost *c = bpf_map_lookup_elem(&costs, &tgid);
  if (!c) {
    struct cost fresh = {};
    bpf_map_update_elem(&costs, &tgid, &fresh, BPF_NOEXIST);
    c = bpf_map_lookup_elem(&costs, &tgid);
    if (!c)
      return;
  }
  __sync_fetch_and_add(&c->traps, 1);
  __sync_fetch_and_add(&c->ns, spent < COST_MAX_NS ? spent : COST_MAX_NS);
}

#define CHARGED(run) \
  u64 began = oisp_settings.guard ? bpf_ktime_get_ns() : 0; \
  run; \
  if (oisp_settings.guard) \
    charge(began); \
  return 0

/* A wakeup for every record costs more than the record; the reader looks by itself every 50 ms. */
INLINE u64 wake_flags(void) {
  return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= oisp_settings.wake_bytes ? BPF_RB_FORCE_WAKEUP
                                                                                 : BPF_RB_NO_WAKEUP;
}

/* ---- connections ---- */

INLINE u64 fresh_id(void) {
#ifdef OISP_MODERN
  u32 zero = 0;
  u64 *next = bpf_map_lookup_elem(&next_id, &zero);
  return next ? __sync_fetch_and_add(next, 1) + 1 : 0;
#else
  /* No fetching atomics before 5.12. One CPU does not give the same nanosecond twice. */
  return bpf_ktime_get_ns() << 10 | (bpf_get_smp_processor_id() & 1023);
#endif
}

INLINE void count_holder(u32 tgid, s64 change) {
  u64 *n = bpf_map_lookup_elem(&holders, &tgid);
  if (!n) {
    u64 zero = 0;
    bpf_map_update_elem(&holders, &tgid, &zero, BPF_NOEXIST);
    n = bpf_map_lookup_elem(&holders, &tgid);
  }
  if (n && change) /* see count_loss */
    __sync_fetch_and_add(n, change);
}

INLINE int put_conn(u16 kind, struct conn *c, u64 pid_tgid, u64 wake) {
  struct oisp_record_conn *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
  if (!r) {
    count_loss(OISP_LOST_RING_FULL, 1, OISP_WRITE, 0);
    return 0;
  }
  r->head.size = sizeof(*r);
  r->head.kind = kind;
  r->head.flags = c->flags;
  r->conn = c->id;
  r->ts = bpf_ktime_get_ns();
  r->cgroup = c->cgroup;
  r->start_time = c->start_time;
  r->pid = pid_tgid >> 32;
  r->tid = (u32)pid_tgid;
  r->uid = c->uid;
  r->gid = c->gid;
  r->bytes[0] = r->bytes[1] = r->lost[0] = r->lost[1] = 0;
  if (kind == OISP_RECORD_CLOSE) {
    r->bytes[0] = c->offset[0];
    r->bytes[1] = c->offset[1];
    r->lost[0] = c->lost[0];
    r->lost[1] = c->lost[1];
  }
  bpf_ringbuf_submit(r, wake);
  return 1;
}

/* Addresses and name, as far as they are known: once after OPEN, and again when the addresses come later. */
INLINE void put_address(struct conn *c, struct handle *key) {
  struct name *name = c->state & CONN_NAME ? bpf_map_lookup_elem(&names, key) : NULL;
  struct oisp_record_address *r = bpf_ringbuf_reserve(&ring, sizeof(*r) + NAME_MAX + ALPN_MAX, 0);
  u64 size = 0, alpn = 0;
  if (!r) {
    count_loss(OISP_LOST_RING_FULL, 1, OISP_WRITE, 0);
    return;
  }
  r->head.kind = OISP_RECORD_ADDRESS;
  r->head.flags = c->flags;
  r->conn = c->id;
  r->ts = bpf_ktime_get_ns();
  __builtin_memcpy(r->local_ip, c->local_ip, 16);
  __builtin_memcpy(r->remote_ip, c->remote_ip, 16);
  r->local_port = c->local_port;
  r->remote_port = c->remote_port;
  r->tls_version = 0;
  if (name) {
    size = name->size;
    if (size > NAME_MAX)
      size = NAME_MAX;
    __builtin_memcpy(r + 1, name->text, NAME_MAX);
    alpn = name->alpn_size & (ALPN_MAX - 1);
    asm volatile("" : "+r"(size));
    if (size <= NAME_MAX)
      __builtin_memcpy((u8 *)(r + 1) + size, name->alpn, ALPN_MAX);
  }
  r->sni_size = size;
  r->alpn_size = alpn;
  r->head.size = sizeof(*r) + ((size + alpn + 7) & ~7ULL);
  c->state |= CONN_TOLD;
  bpf_ringbuf_submit(r, wake_flags());
}

/* What of this connection was lost since this was last said. Where the ring has no room for it, it is said later: the
 * LOST records of a connection add up to what its CLOSE says. */
INLINE void tell_lost(struct conn *c) {
  u64 written = c->lost[0] - c->told[0], read = c->lost[1] - c->told[1];
  struct oisp_record_lost *r;
  if (!(written | read))
    return;
  r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
  if (!r)
    return;
  r->head.size = sizeof(*r);
  r->head.kind = OISP_RECORD_LOST;
  r->head.flags = c->flags;
  r->conn = c->id;
  r->ts = bpf_ktime_get_ns();
  r->bytes[0] = written;
  r->bytes[1] = read;
  r->records = c->untold_records;
  r->cause = c->untold_cause;
  r->reserved = 0;
  c->told[0] += written;
  c->told[1] += read;
  c->untold_records = 0;
  bpf_ringbuf_submit(r, wake_flags());
}

/* Bytes that went by on a handle that nobody can name. */
INLINE void tell_nameless(u32 cause, u64 records, int direction, u64 bytes) {
  struct oisp_record_lost *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
  if (!r)
    return;
  r->head.size = sizeof(*r);
  r->head.kind = OISP_RECORD_LOST;
  r->head.flags = 0;
  r->conn = 0;
  r->ts = bpf_ktime_get_ns();
  r->bytes[0] = direction == OISP_WRITE ? bytes : 0;
  r->bytes[1] = direction == OISP_WRITE ? 0 : bytes;
  r->records = records;
  r->cause = cause;
  r->reserved = 0;
  bpf_ringbuf_submit(r, wake_flags());
}

INLINE void end_conn(struct conn *c, u64 pid_tgid) {
  if ((c->state & (CONN_OPENED | CONN_CLOSED)) == CONN_OPENED) {
    tell_lost(c);
    put_conn(OISP_RECORD_CLOSE, c, pid_tgid, wake_flags());
  }
  c->state |= CONN_CLOSED;
}

INLINE struct conn *add_conn(struct handle *key, u64 start, u32 flags) {
  struct conn fresh = {};
  u64 ids = bpf_get_current_uid_gid();
  fresh.id = fresh_id();
  fresh.start_time = start;
  fresh.cgroup = bpf_get_current_cgroup_id();
  fresh.uid = (u32)ids;
  fresh.gid = ids >> 32;
  fresh.flags = flags;
  if (bpf_map_update_elem(&conns, key, &fresh, BPF_NOEXIST) == 0)
    count_holder(key->tgid, 1);
  return bpf_map_lookup_elem(&conns, key);
}

/* The handle's connection; a new one when this handle ended one, or belongs to an earlier owner of the process id. */
INLINE struct conn *conn_of(u64 ssl, u64 pid_tgid, u64 start, u32 flags) {
  struct handle key = {.ssl = ssl, .tgid = pid_tgid >> 32};
  struct conn *c = bpf_map_lookup_elem(&conns, &key);
  if (c && c->start_time == start && !(c->state & CONN_CLOSED))
    return c;
  if (c) {
    if (c->state & CONN_CLOSED)
      flags = c->flags & OISP_RECORD_SERVER;
    bpf_map_delete_elem(&names, &key);
    bpf_map_delete_elem(&conns, &key);
    count_holder(key.tgid, -1);
  }
  return add_conn(&key, start, flags);
}

INLINE void drop_conn(u64 ssl, u64 pid_tgid) {
  struct handle key = {.ssl = ssl, .tgid = pid_tgid >> 32};
  struct conn *c = bpf_map_lookup_elem(&conns, &key);
  if (!c)
    return;
  end_conn(c, pid_tgid);
  if (c->state & CONN_NAME)
    bpf_map_delete_elem(&names, &key);
  if (bpf_map_delete_elem(&conns, &key) == 0)
    count_holder(key.tgid, -1);
}

/* ---- traffic ---- */

/* The transfer lies in the thread's own map entry: the verifier then knows nothing of its values, and meets the same
 * state in every round of the loop. */
struct walk {
  struct transfer *transfer;
  struct conn *conn;
};

INLINE void lose(struct walk *w, u32 cause, u64 records, u64 bytes) {
  int direction = w->transfer->head.direction;
  count_loss(cause, records, direction, bytes);
  w->conn->untold_cause = cause;
  __sync_fetch_and_add(&w->conn->untold_records, records);
  if (direction == OISP_READ)
    __sync_fetch_and_add(&w->conn->lost[1], bytes);
  else
    __sync_fetch_and_add(&w->conn->lost[0], bytes);
}

/* Fills the record of chunk `round`, of a size class (a power of two), with n <= class bytes. */
INLINE void fill(struct walk *w, u64 round, struct oisp_record_data *r, u64 n, const u64 class) {
  u8 *payload = (u8 *)(r + 1);
  u64 last;
  __builtin_memcpy(r, &w->transfer->head, sizeof(*r));
  r->offset += round * OISP_RECORD_CHUNK;
  r->sequence += round;
  asm volatile("" : "+r"(n));
  if (n > class)
    n = class; /* never taken; the verifier wants the bound on this very register */
  last = n - 1;
  asm volatile("" : "+r"(last)); /* else the mask is left out, and verifiers before 6.18 know no bound */
  last &= (class - 1) & ~7ULL;
  *(u64 *)(payload + last) = 0; /* the padding must not show what the ring held before */
  r->captured = n;
  r->head.size = sizeof(*r) + last + 8;
  if (bpf_probe_read_user(payload, n, (const void *)(w->transfer->from + round * OISP_RECORD_CHUNK))) {
    r->captured = 0;
    r->head.size = sizeof(*r);
    r->head.flags |= OISP_RECORD_SHORT;
    lose(w, OISP_LOST_FAULT, 1, n);
  }
  bpf_ringbuf_submit(r, wake_flags());
}

#define PUT_CLASS(class) \
  { \
    struct oisp_record_data *r = bpf_ringbuf_reserve(&ring, sizeof(struct oisp_record_data) + (class), 0); \
    if (r) \
      fill(w, round, r, n, class); \
    else \
      lose(w, OISP_LOST_RING_FULL, 1, n); \
  }

/* One whole chunk of a long call; answers 1 after the last. */
static long put_chunk(u64 round, struct walk *w) {
  const u64 n = OISP_RECORD_CHUNK;
  if (round >= w->transfer->whole)
    return 1;
  PUT_CLASS(OISP_RECORD_CHUNK)
  return 0;
}

/* The rest of a call, or all of a short one: a reservation of its size, so that 200 bytes do not take 16 KiB. */
INLINE void put_rest(struct walk *w) {
  u64 n = w->transfer->rest, round = w->transfer->whole;
  if (n == 0)
    return;
  if (n <= 256)
    PUT_CLASS(256)
  else if (n <= 1024)
    PUT_CLASS(1024)
  else if (n <= 2048)
    PUT_CLASS(2048)
  else if (n <= 4096)
    PUT_CLASS(4096)
  else if (n <= 8192)
    PUT_CLASS(8192)
  else
    PUT_CLASS(OISP_RECORD_CHUNK)
}

#define BASIC_ROUNDS 192 /* 3 MiB a call: what the verifier of 5.10 walks through, which knows a million steps */

INLINE void put_chunks(struct walk *w) {
#ifdef OISP_MODERN
  bpf_loop(w->transfer->whole, put_chunk, w, 0);
#else
  for (u64 round = 0; round < BASIC_ROUNDS; round++)
    if (put_chunk(round, w))
      break;
  if (w->transfer->whole > BASIC_ROUNDS) { /* out of rounds: what is left is counted, and later calls go on behind it */
    u64 left = w->transfer->whole - BASIC_ROUNDS;
    lose(w, OISP_LOST_TOO_LARGE, left + (w->transfer->rest > 0), left * OISP_RECORD_CHUNK + w->transfer->rest);
    return;
  }
#endif
  put_rest(w);
}

INLINE int direction_of(u32 function) {
  return function == FN_READ || function == FN_READ_EX || function == FN_GO_READ || function == FN_RECV ? OISP_READ
                                                                                                        : OISP_WRITE;
}

/* ---- verdicts ---- */

INLINE u32 verdict_of(u64 id) {
  u32 slot = (id ^ id >> 16) & (VERDICT_SLOTS - 1);
  u64 *v = bpf_map_lookup_elem(&verdicts, &slot);
  u64 value = v ? *v : 0;
  return value >> 2 == id << 2 >> 2 ? value & 3 : 0;
}

INLINE void count_spared(u32 level, int reads, u64 bytes) {
  struct spared *s = bpf_map_lookup_elem(&spared, &level);
  if (!s)
    return;
  __sync_fetch_and_add(&s->calls, 1);
  if (reads)
    __sync_fetch_and_add(&s->bytes[1], bytes);
  else
    __sync_fetch_and_add(&s->bytes[0], bytes);
}

INLINE u64 advance(u64 *counter, u64 by) {
#ifdef OISP_MODERN
  return __sync_fetch_and_add(counter, by);
#else
  u64 before = *counter;
  *counter = before + by;
  return before;
#endif
}

/* A write whose ciphertext went into memory: the thread will send it. With the bytes of two handles waiting, which one
 * a send belongs to is not known, and neither is guessed. */
INLINE void expect_send(struct thread *t, u64 ssl, u64 n) {
  if (t->pending == ssl) {
    t->pending_size += n;
  } else {
    t->pending = t->pending ? 0 : ssl;
    t->pending_size = n;
  }
}

/* The part of a call that is copied: all of it, its first KiB, or nothing. What is not is spared, and offsets run on. */
INLINE u64 copied(struct conn *c, int reads, u64 n) {
  u32 level = verdict_of(c->id);
  u64 part = n;
  if (level == VERDICT_NOTHING)
    part = 0;
  else if (level == VERDICT_HEAD && n > VERDICT_HEAD_BYTES)
    part = VERDICT_HEAD_BYTES;
  if (part < n)
    count_spared(level, reads, n - part);
  return part;
}

/* What is said before the first byte: that the connection is there, and between whom. */
INLINE void announce(struct conn *c, u64 ssl, u64 pid_tgid) {
  if (!(c->state & CONN_OPENED) && put_conn(OISP_RECORD_OPEN, c, pid_tgid, BPF_RB_FORCE_WAKEUP))
    c->state |= CONN_OPENED;
  if (c->state & (CONN_ADDRESS | CONN_NAME) && !(c->state & CONN_TOLD)) {
    struct handle key = {.ssl = ssl, .tgid = pid_tgid >> 32};
    put_address(c, &key);
  }
}

INLINE void put_bytes(struct thread *thread, struct call *call, struct conn *c, u64 pid_tgid, u64 n) {
  struct transfer *t = &thread->transfer;
  int reads = direction_of(call->function) == OISP_READ;
  struct walk w = {.transfer = t};
  u64 part, records;
  part = call->function == FN_SENDFILE ? n : copied(c, reads, n);
  records = (part + OISP_RECORD_CHUNK - 1) / OISP_RECORD_CHUNK;
  t->head.head.kind = OISP_RECORD_DATA;
  t->head.head.flags = part < n ? c->flags | OISP_RECORD_SHORT : c->flags;
  t->head.conn = c->id;
  t->head.ts_enter = call->entered;
  t->head.ts_return = bpf_ktime_get_ns();
  t->head.call_size = n;
  t->head.cgroup = c->cgroup;
  t->head.start_time = c->start_time;
  t->head.pid = pid_tgid >> 32;
  t->head.tid = (u32)pid_tgid;
  t->head.uid = c->uid;
  t->head.header_size = sizeof(t->head);
  t->head.direction = reads;
  t->from = call->buffer;
  t->whole = part / OISP_RECORD_CHUNK;
  t->rest = part % OISP_RECORD_CHUNK;
  if (reads) {
    t->head.offset = advance(&c->offset[1], n);
    t->head.sequence = c->sequence[1];
    c->sequence[1] += records;
  } else {
    t->head.offset = advance(&c->offset[0], n);
    t->head.sequence = c->sequence[0];
    c->sequence[0] += records;
  }
  w.conn = c;
  if (call->function == FN_SENDFILE)
    lose(&w, OISP_LOST_FAULT, records, n);
  else if (part)
    put_chunks(&w);
}

INLINE void put_call(struct thread *thread, struct call *call, u64 pid_tgid, u64 n) {
  u64 start = process_start((struct task_struct *)bpf_get_current_task());
  int reads = direction_of(call->function) == OISP_READ;
  struct conn *c = conn_of(call->ssl, pid_tgid, start, OISP_RECORD_MIDWAY);
  if (!c) {
    u64 records = (n + OISP_RECORD_CHUNK - 1) / OISP_RECORD_CHUNK;
    count_loss(OISP_LOST_STATE, records, reads, n);
    tell_nameless(OISP_LOST_STATE, records, reads, n);
    return;
  }
  announce(c, call->ssl, pid_tgid);
  tell_lost(c);
  put_bytes(thread, call, c, pid_tgid, n);
  if (!reads && !(c->state & CONN_ADDRESS))
    expect_send(thread, call->ssl, n);
}

/* ---- calls ---- */

INLINE struct thread *thread_of(u64 pid_tgid) {
  struct thread *t = bpf_map_lookup_elem(&threads, &pid_tgid);
  if (!t) {
    u32 zero = 0;
    struct thread *empty = bpf_map_lookup_elem(&blank, &zero);
    if (empty)
      bpf_map_update_elem(&threads, &pid_tgid, empty, BPF_NOEXIST);
    t = bpf_map_lookup_elem(&threads, &pid_tgid);
  }
  return t;
}

/* The stack grows down: a call that stands at or below a new one has been left without a return (longjmp,
 * cancellation). */
INLINE void push_call(struct thread *t, const struct call *from) {
  u32 depth = t->depth;
  struct call *call;
  for (int i = 0; i < CALL_DEPTH; i++)
    if (depth > 0 && t->calls[(depth - 1) & (CALL_DEPTH - 1)].stack <= from->stack)
      depth--;
  t->returned = 0;
  t->depth = depth;
  if (depth >= CALL_DEPTH)
    return; /* its return finds nothing and counts */
  call = &t->calls[depth & (CALL_DEPTH - 1)];
  __builtin_memcpy(call, from, sizeof(*call));
  if (depth > 0) {
    struct call *outer = &t->calls[(depth - 1) & (CALL_DEPTH - 1)];
    if (outer->ssl == from->ssl && from->function != FN_SHUTDOWN && outer->function != FN_SHUTDOWN &&
        direction_of(outer->function) == direction_of(from->function))
      call->inner = 1;
  }
  call->entered = bpf_ktime_get_ns();
  t->depth = depth + 1;
}

#define SSL_CTRL_SET_TLSEXT_HOSTNAME 55

/* What a handle will say in its ClientHello, as far as the program has said it; empty at first. */
INLINE struct name *name_of(struct handle *key, struct conn *c) {
  u32 zero = 0;
  struct name *name = c && c->state & CONN_NAME ? bpf_map_lookup_elem(&names, key) : NULL;
  if (name || !c)
    return name;
  name = bpf_map_lookup_elem(&blank_name, &zero);
  if (!name || bpf_map_update_elem(&names, key, name, 0))
    return NULL;
  c->state |= CONN_NAME;
  return bpf_map_lookup_elem(&names, key);
}

/* The client names the server that it wants: what goes out as SNI. */
INLINE void set_name(struct handle *key, const void *from) {
  struct name *name = from ? name_of(key, bpf_map_lookup_elem(&conns, key)) : NULL;
  long size;
  if (!name)
    return;
  size = bpf_probe_read_user_str(name->text, NAME_MAX, from);
  name->size = size > 1 ? size - 1 : 0;
}

/* The protocols that it offers. A list that is longer than any that was met is not kept. */
INLINE void set_protocols(struct handle *key, u32 function, const void *from, u64 size) {
  struct protocols list = {.size = size};
  struct name *name;
  asm volatile("" : "+r"(size)); /* the bound is wanted on this very register */
  if (size == 0 || size >= ALPN_MAX || bpf_probe_read_user(list.list, size, from))
    return;
  if (function == FN_CONTEXT_ALPN) {
    bpf_map_update_elem(&contexts, key, &list, 0);
    return;
  }
  name = name_of(key, bpf_map_lookup_elem(&conns, key));
  if (!name)
    return;
  __builtin_memcpy(name->alpn, list.list, ALPN_MAX);
  name->alpn_size = size;
}

INLINE void inherit_protocols(u64 ssl, u64 pid_tgid) {
  struct thread *t = bpf_map_lookup_elem(&threads, &pid_tgid);
  struct handle context = {.tgid = pid_tgid >> 32}, key = {.ssl = ssl, .tgid = pid_tgid >> 32};
  struct protocols *list;
  struct name *name;
  if (!t || !t->context)
    return;
  context.ssl = t->context;
  t->context = 0;
  list = bpf_map_lookup_elem(&contexts, &context);
  name = list ? name_of(&key, bpf_map_lookup_elem(&conns, &key)) : NULL;
  if (!name)
    return;
  __builtin_memcpy(name->alpn, list->list, ALPN_MAX);
  name->alpn_size = list->size;
}

/* What a program does with a handle before its first byte. One that nobody knew is fresh. */
INLINE void prepare(struct handle *key, u64 start, u32 function, u64 name) {
  struct conn *c = bpf_map_lookup_elem(&conns, key);
  if (!c)
    c = add_conn(key, start, 0);
  if (function == FN_ACCEPT) {
    if (c)
      c->flags |= OISP_RECORD_SERVER;
  } else if (function != FN_HANDSHAKE) {
    set_name(key, (const void *)name);
  }
}

/* This handle is fresh, so its stream is known from its first byte. */
INLINE void make_fresh(u64 ssl, u64 pid_tgid, u64 start, u32 flags) {
  struct handle key = {.ssl = ssl, .tgid = pid_tgid >> 32};
  struct conn *c = bpf_map_lookup_elem(&conns, &key);
  if (c && c->start_time == start && c->offset[0] == 0 && c->offset[1] == 0)
    return; /* a second probe */
  if (c)
    drop_conn(key.ssl, pid_tgid);
  add_conn(&key, start, flags);
}

INLINE int enter(struct pt_regs *ctx, u32 function) {
  u64 pid_tgid = bpf_get_current_pid_tgid();
  u64 start = process_start((struct task_struct *)bpf_get_current_task());
  struct thread *t;
  if (!current_in_scope(pid_tgid >> 32, start))
    return 0;
  if (function == FN_FREE || function == FN_UP_REF || function == FN_CLEAR) {
    struct handle key = {.ssl = REG_1(ctx), .tgid = pid_tgid >> 32};
    struct conn *c = bpf_map_lookup_elem(&conns, &key);
    if (!c)
      return 0;
    if (function == FN_UP_REF) {
      __sync_fetch_and_add(&c->references, 1);
    } else if (function == FN_CLEAR) {
      if (c->state & CONN_OPENED)
        end_conn(c, pid_tgid); /* the next call gets a new connection */
    } else if (c->references > 0) {
      __sync_fetch_and_add(&c->references, -1);
    } else {
      drop_conn(key.ssl, pid_tgid);
    }
    return 0;
  }
  if (function == FN_NEW) {
    t = thread_of(pid_tgid);
    if (t)
      t->context = REG_1(ctx);
    return 0;
  }
  if (function == FN_ALPN || function == FN_CONTEXT_ALPN) {
    struct handle key = {.ssl = REG_1(ctx), .tgid = pid_tgid >> 32};
    set_protocols(&key, function, (const void *)REG_2(ctx), (u32)REG_3(ctx));
    return 0;
  }
  if (function == FN_BEGIN) {
    make_fresh(REG_1(ctx), pid_tgid, start, 0);
    return 0;
  }
  if (function == FN_CTRL && (u32)REG_2(ctx) != SSL_CTRL_SET_TLSEXT_HOSTNAME)
    return 0;
  if (function == FN_HANDSHAKE || function == FN_SERVER_NAME || function == FN_HOST_NAME || function == FN_CTRL ||
      function == FN_ACCEPT) {
    struct handle key = {.ssl = REG_1(ctx), .tgid = pid_tgid >> 32};
    u64 second = REG_2(ctx), third = REG_3(ctx), fourth = REG_4(ctx);
    prepare(&key, start, function, function == FN_HOST_NAME ? second : function == FN_SERVER_NAME ? third : fourth);
    return 0;
  }
  t = thread_of(pid_tgid);
  if (t) {
    struct call call = {
        .stack = REG_STACK(ctx), .ssl = REG_1(ctx), .buffer = REG_2(ctx), .size = REG_3(ctx), .function = function};
    u64 fourth = REG_4(ctx), fifth = REG_5(ctx);
    call.moved = function == FN_WRITE_EX2 ? fifth : fourth;
    push_call(t, &call);
  }
  return 0;
}

/* Takes the call off that began at this stack pointer, and what lies below it. */
INLINE int pop_call(struct thread *t, u64 stack, struct call *to) {
  for (int i = CALL_DEPTH - 1; i >= 0; i--) {
    if ((u32)i < t->depth && t->calls[i].stack == stack) {
      __builtin_memcpy(to, &t->calls[i], sizeof(*to));
      t->depth = i;
      t->returned = stack;
      return 1;
    }
  }
  return 0;
}

/* Bytes that the returning call moved; 0 for an error. */
INLINE u64 moved_bytes(struct pt_regs *ctx, struct call *call) {
  s32 result = (s32)REG_RESULT(ctx);
  u64 n = 0;
  if (call->function == FN_READ || call->function == FN_WRITE)
    return result > 0 ? (u64)(u32)result : 0;
  if (call->function == FN_RECV || call->function == FN_SEND || call->function == FN_SENDFILE)
    return (s64)REG_RESULT(ctx) > 0 ? REG_RESULT(ctx) : 0;
  if (result == 1)
    bpf_probe_read_user(&n, sizeof(n), (const void *)call->moved);
  return n;
}

/* A call that began before the probes did. The basic build does not know which function returns: it counts the record
 * and no bytes. */
INLINE void unmatched_return(struct pt_regs *ctx, u32 function) {
  s32 result = (s32)REG_RESULT(ctx);
  u64 bytes = 0;
  if (function == FN_SHUTDOWN || function == FN_UNCORK || result <= 0)
    return;
  if (function == FN_READ || function == FN_WRITE || function >= FN_GO_READ)
    bytes = result;
  count_loss(OISP_LOST_STATE, 1, direction_of(function), bytes);
  tell_nameless(OISP_LOST_STATE, 1, direction_of(function), bytes);
}

INLINE int leave(struct pt_regs *ctx, u32 function, int shared, u64 stack) {
  u64 pid_tgid = bpf_get_current_pid_tgid();
  struct thread *t = bpf_map_lookup_elem(&threads, &pid_tgid);
  struct call call = {};
  u64 n;
  if (!t || !pop_call(t, stack, &call)) {
    u64 start;
    if (shared || (t && t->returned == stack))
      return 0;
    start = process_start((struct task_struct *)bpf_get_current_task());
    if (current_in_scope(pid_tgid >> 32, start))
      unmatched_return(ctx, function);
    return 0;
  }
  if (call.inner || call.function == FN_UNCORK)
    return 0;
  if (call.function == FN_SHUTDOWN) {
    struct handle key = {.ssl = call.ssl, .tgid = pid_tgid >> 32};
    struct conn *c = (s32)REG_RESULT(ctx) == 1 ? bpf_map_lookup_elem(&conns, &key) : NULL;
    if (c)
      end_conn(c, pid_tgid);
    return 0;
  }
  n = moved_bytes(ctx, &call);
  if (n)
    put_call(t, &call, pid_tgid, n);
  return 0;
}

/* SSL_new returned. */
INLINE int created(struct pt_regs *ctx) {
  u64 pid_tgid = bpf_get_current_pid_tgid();
  u64 start = process_start((struct task_struct *)bpf_get_current_task());
  if (REG_RESULT(ctx) && current_in_scope(pid_tgid >> 32, start)) {
    make_fresh(REG_RESULT(ctx), pid_tgid, start, 0);
    inherit_protocols(REG_RESULT(ctx), pid_tgid);
  }
  return 0;
}

/* ---- Go ---- */

INLINE struct thread *goroutine_of(struct goroutine *key) {
  struct thread *t = bpf_map_lookup_elem(&goroutines, key);
  if (!t) {
    u32 zero = 0;
    struct thread *empty = bpf_map_lookup_elem(&blank, &zero);
    if (empty && bpf_map_update_elem(&goroutines, key, empty, BPF_NOEXIST) == 0)
      count_holder(key->tgid, 0); /* its exit sweeps */
    t = bpf_map_lookup_elem(&goroutines, key);
  }
  return t;
}

/* A goroutine's stack, which moves when it grows; the descriptor begins with its bounds. */
struct go_stack {
  u64 low;
  u64 high;
};

INLINE int enter_go(struct pt_regs *ctx, u32 function) {
  u64 pid_tgid = bpf_get_current_pid_tgid();
  u64 start = process_start((struct task_struct *)bpf_get_current_task());
  struct goroutine key = {.g = REG_GO_G(ctx), .tgid = pid_tgid >> 32};
  struct call call = {.ssl = REG_GO_1(ctx), .buffer = REG_GO_2(ctx), .size = REG_GO_3(ctx), .function = function};
  struct go_stack stack = {};
  struct thread *t;
  if (!current_in_scope(key.tgid, start))
    return 0;
  if (function == FN_GO_CLOSE) {
    drop_conn(call.ssl, pid_tgid);
    return 0;
  }
  if (function == FN_GO_CLIENT || function == FN_GO_SERVER) {
    make_fresh(call.ssl, pid_tgid, start, function == FN_GO_SERVER ? OISP_RECORD_SERVER : 0);
    return 0;
  }
  if (bpf_probe_read_user(&stack, sizeof(stack), (const void *)key.g))
    return 0;
  call.stack = REG_STACK(ctx) - stack.high;
  if (call.buffer >= stack.low && call.buffer < stack.high) {
    call.buffer -= stack.high;
    call.on_stack = 1;
  }
  t = goroutine_of(&key);
  if (t)
    push_call(t, &call);
  return 0;
}

INLINE int leave_go(struct pt_regs *ctx, u32 function) {
  u64 pid_tgid = bpf_get_current_pid_tgid();
  struct goroutine key = {.g = REG_GO_G(ctx), .tgid = pid_tgid >> 32};
  struct thread *t = bpf_map_lookup_elem(&goroutines, &key);
  s64 n = (s64)REG_GO_1(ctx);
  struct go_stack stack = {};
  struct call call = {};
  bpf_probe_read_user(&stack, sizeof(stack), (const void *)key.g);
  if (!t || !pop_call(t, REG_STACK(ctx) - stack.high, &call)) {
    u64 start = process_start((struct task_struct *)bpf_get_current_task());
    if (current_in_scope(key.tgid, start))
      unmatched_return(ctx, function);
    return 0;
  }
  if (call.on_stack)
    call.buffer += stack.high;
  if (n > 0 && !call.inner)
    put_call(t, &call, pid_tgid, n);
  if (t->depth == 0)
    bpf_map_delete_elem(&goroutines, &key);
  return 0;
}

/* ---- addresses ---- */

INLINE int socket_addresses(struct sock *sk, struct conn *c) {
  u16 family = 0, protocol = 0, port = 0;
  kernel_read(&family, &sk->__sk_common.skc_family);
  kernel_read(&protocol, &sk->sk_protocol);
  if (protocol != IPPROTO_TCP)
    return 0;
  if (family == AF_INET) {
    c->local_ip[10] = c->local_ip[11] = c->remote_ip[10] = c->remote_ip[11] = 0xff;
    kernel_read((u32 *)&c->local_ip[12], &sk->__sk_common.skc_rcv_saddr);
    kernel_read((u32 *)&c->remote_ip[12], &sk->__sk_common.skc_daddr);
  } else if (family == AF_INET6) {
    kernel_read((struct in6_addr *)c->local_ip, &sk->__sk_common.skc_v6_rcv_saddr);
    kernel_read((struct in6_addr *)c->remote_ip, &sk->__sk_common.skc_v6_daddr);
  } else {
    return 0;
  }
  kernel_read(&port, &((struct inet_sock *)sk)->inet_sport); /* skc_num is 0 once the peer has gone */
  c->local_port = __builtin_bswap16(port);
  kernel_read(&port, &sk->__sk_common.skc_dport);
  c->remote_port = __builtin_bswap16(port);
  return 1;
}

INLINE void bind_socket(u64 ssl, u64 pid_tgid, struct sock *sk) {
  struct handle key = {.ssl = ssl, .tgid = pid_tgid >> 32};
  struct conn *c = bpf_map_lookup_elem(&conns, &key);
  if (!c || c->state & CONN_ADDRESS || !socket_addresses(sk, c))
    return;
  c->state |= CONN_ADDRESS;
  if ((c->state & (CONN_OPENED | CONN_CLOSED)) == CONN_OPENED)
    put_address(c, &key);
}

/* What encryption adds to a record of a stream: at least its header and a tag, at most what CBC with padding takes. */
#define RECORD_OVERHEAD_MIN 17
#define RECORD_OVERHEAD_MAX 300
#define RECORD_HEADER 5

#define GO_FIRST_RECORD 1000 /* Go's first records hold what fits into one packet */

/* Go keeps the running goroutine's descriptor in a register, through system calls too: what it sends or receives inside
 * Write or Read is the ciphertext of that connection. */
INLINE void bind_go(u64 pid_tgid, int direction, s64 size, struct sock *sk) {
#ifdef OISP_MODERN
  struct goroutine key = {.tgid = pid_tgid >> 32};
  struct thread *t;
  struct call *call;
  long regs;
  if (!bpf_map_lookup_elem(&holders, &key.tgid))
    return;
  regs = bpf_task_pt_regs(bpf_get_current_task_btf());
  if (bpf_probe_read_kernel(&key.g, sizeof(key.g), (const void *)(regs + GO_G_OFFSET)))
    return;
  t = bpf_map_lookup_elem(&goroutines, &key);
  if (!t || !t->depth)
    return;
  call = &t->calls[(t->depth - 1) & (CALL_DEPTH - 1)];
  if (direction_of(call->function) != direction)
    return;
  if (direction == OISP_WRITE) {
    u64 least = call->size < GO_FIRST_RECORD ? call->size + RECORD_OVERHEAD_MIN : GO_FIRST_RECORD;
    if (size < least || size > OISP_RECORD_CHUNK + RECORD_OVERHEAD_MAX)
      return;
  }
  bind_socket(call->ssl, pid_tgid, sk);
#endif
}

/* ---- plaintext HTTP ---- */

#define MSG_PEEK 2
#define TCP_CLOSE 7
#if defined(OISP_X86_64)
enum {
  NR_read = 0,
  NR_write = 1,
  NR_readv = 19,
  NR_writev = 20,
  NR_sendto = 44,
  NR_recvfrom = 45,
  NR_sendmsg = 46,
  NR_recvmsg = 47
};
#else
enum {
  NR_read = 63,
  NR_write = 64,
  NR_readv = 65,
  NR_writev = 66,
  NR_sendto = 206,
  NR_recvfrom = 207,
  NR_sendmsg = 211,
  NR_recvmsg = 212
};
#endif

#ifdef OISP_MODERN
struct piece {
  u64 base;
  u64 size;
};

struct plain_walk {
  struct thread *thread;
  struct conn *conn;
};

#define WORD(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

/* A request or a response of HTTP/1, or the preface of HTTP/2, from its first byte. */
INLINE int looks_like_http(const u8 *b) {
  u32 word = *(const u32 *)b, next = *(const u32 *)(b + 4);
  u8 fifth = b[4], sixth = b[5];
  if (word == WORD('G', 'E', 'T', ' ') || word == WORD('P', 'U', 'T', ' '))
    return fifth == '/' || fifth == 'h';
  if (word == WORD('P', 'O', 'S', 'T') || word == WORD('H', 'E', 'A', 'D'))
    return fifth == ' ' && (sixth == '/' || sixth == 'h');
  if (word == WORD('H', 'T', 'T', 'P'))
    return next == WORD('/', '1', '.', '1') || next == WORD('/', '1', '.', '0');
  if (word == WORD('P', 'R', 'I', ' '))
    return next == WORD('*', ' ', 'H', 'T');
  if (word == WORD('D', 'E', 'L', 'E'))
    return next == WORD('T', 'E', ' ', '/');
  if (word == WORD('P', 'A', 'T', 'C'))
    return fifth == 'H' && sixth == ' ';
  return word == WORD('O', 'P', 'T', 'I') && next == WORD('O', 'N', 'S', ' ');
}

/* What is counted down lies in the thread's map entry, for the same reason as a transfer does. */
static long put_piece(u32 round, struct plain_walk *w) {
  struct plain_call *p = &w->thread->plain;
  struct piece piece = {.base = p->call.buffer, .size = p->left};
  if (p->left == 0 || round >= p->count)
    return 1;
  if (p->pieces && bpf_probe_read_user(&piece, sizeof(piece), (const void *)(p->pieces + round * sizeof(piece))))
    return 1;
  if (piece.size > p->left)
    piece.size = p->left;
  if (piece.size == 0)
    return 0;
  p->call.buffer = piece.base;
  p->left -= piece.size;
  put_bytes(w->thread, &p->call, w->conn, p->pid_tgid, piece.size);
  return 0;
}

/* Finds the buffers of the system call that the current thread is in. Answers 0 when it is none of those that pass
 * buffers (splice, io_uring): then what moved is a hole. */
INLINE int find_buffers(struct plain_call *p) {
  struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
  u64 number = 0, second = 0, third = 0;
#if defined(OISP_X86_64)
  bpf_probe_read_kernel(&number, sizeof(number), &regs->orig_ax);
  bpf_probe_read_kernel(&second, sizeof(second), &regs->si);
  bpf_probe_read_kernel(&third, sizeof(third), &regs->dx);
#else
  bpf_probe_read_kernel(&number, sizeof(number), &regs->regs[8]);
  bpf_probe_read_kernel(&second, sizeof(second), &regs->regs[1]);
  bpf_probe_read_kernel(&third, sizeof(third), &regs->regs[2]);
#endif
  p->pieces = 0;
  p->count = 1;
  if (number == NR_read || number == NR_write || number == NR_sendto || number == NR_recvfrom) {
    p->call.buffer = second;
    return 1;
  }
  if (number == NR_readv || number == NR_writev) {
    p->pieces = second;
    p->count = third;
    return 1;
  }
  if (number == NR_sendmsg || number == NR_recvmsg) { /* struct msghdr: the table and its size at 16 and 24 */
    struct piece table = {};
    if (bpf_probe_read_user(&table, sizeof(table), (const void *)(second + 16)))
      return 0;
    p->pieces = table.base;
    p->count = table.size;
    return 1;
  }
  return 0;
}

/* What the socket carries, found once: only what begins as HTTP does is ever copied. */
NOINLINE u32 classify(struct plain_call *p, u64 sk, u64 n) {
  u32 class = SOCKET_OTHER;
  struct piece first = {};
  u8 begin[8] = {};
  first.base = p->call.buffer;
  if (p->pieces)
    bpf_probe_read_user(&first, sizeof(first), (const void *)p->pieces);
  if (n >= sizeof(begin) && !bpf_probe_read_user(begin, sizeof(begin), (const void *)first.base) &&
      looks_like_http(begin))
    class = SOCKET_HTTP;
  bpf_map_update_elem(&sockets, &sk, &class, 0);
  return class;
}

/* The n bytes that a system call has moved, out of the buffers that were found (or a hole). */
INLINE void put_pieces(struct plain_walk *w, u64 handle, u64 pid_tgid, int direction, u64 n, int buffers) {
  struct plain_call *p = &w->thread->plain;
  p->call.ssl = handle;
  p->call.function = direction == OISP_READ ? FN_RECV : FN_SEND;
  p->call.entered = bpf_ktime_get_ns();
  p->pid_tgid = pid_tgid;
  p->left = n;
  announce(w->conn, handle, pid_tgid);
  tell_lost(w->conn);
  if (buffers)
    bpf_loop(MAX_PIECES, put_piece, w, 0);
  n = p->left;
  if (!n)
    return;
  count_loss(OISP_LOST_FAULT, 1, direction, n); /* known to have moved, and in no buffer that can be read */
  w->conn->untold_cause = OISP_LOST_FAULT;
  __sync_fetch_and_add(&w->conn->untold_records, 1);
  if (direction == OISP_READ) {
    advance(&w->conn->offset[1], n);
    __sync_fetch_and_add(&w->conn->lost[1], n);
  } else {
    advance(&w->conn->offset[0], n);
    __sync_fetch_and_add(&w->conn->lost[0], n);
  }
}

INLINE struct conn *plain_conn(struct handle *key, struct sock *sk, u64 start) {
  struct conn *c = add_conn(key, start, OISP_RECORD_PLAINTEXT);
  if (c && socket_addresses(sk, c))
    c->state |= CONN_ADDRESS;
  return c;
}

INLINE void plain_bytes(u64 pid_tgid, u64 start, int direction, u64 n, struct sock *sk) {
  struct handle key = {.ssl = (u64)sk};
  struct thread *t = thread_of(pid_tgid);
  struct plain_walk w = {.thread = t};
  int buffers;
  if (!t) {
    count_loss(OISP_LOST_STATE, 1, direction, n);
    return;
  }
  buffers = find_buffers(&t->plain);
  w.conn = bpf_map_lookup_elem(&conns, &key);
  if (!w.conn && classify(&t->plain, (u64)sk, buffers ? n : 0) != SOCKET_HTTP)
    return;
  if (!w.conn)
    w.conn = plain_conn(&key, sk, start);
  if (!w.conn) {
    count_loss(OISP_LOST_STATE, 1, direction, n);
    return;
  }
  put_pieces(&w, (u64)sk, pid_tgid, direction, n, buffers);
}
#endif

INLINE void plain(struct raw_tracepoint *ctx, u64 pid_tgid, int direction, u64 n) {
#ifdef OISP_MODERN
  struct sock *sk = (struct sock *)ctx->args[0];
  u64 start, address = (u64)sk;
  u32 *class;
  u16 protocol = 0;
  if (!oisp_settings.plaintext)
    return;
  class = bpf_map_lookup_elem(&sockets, &address);
  if (class && *class == SOCKET_OTHER)
    return;
  start = process_start((struct task_struct *)bpf_get_current_task());
  if (!current_in_scope(pid_tgid >> 32, start))
    return;
  kernel_read(&protocol, &sk->sk_protocol);
  if (protocol == IPPROTO_TCP)
    plain_bytes(pid_tgid, start, direction, n, sk);
#endif
}

/* A socket has sent: inside SSL_write, or after it when the ciphertext went through memory (then perhaps inside another
 * call, as Node runs callbacks inside SSL_read). The size must be that of the ciphertext: programs send
 * other things too. */
SEC("raw_tp/sock_send_length") int on_send(struct raw_tracepoint *ctx) {
  u64 pid_tgid = bpf_get_current_pid_tgid();
  struct thread *t = bpf_map_lookup_elem(&threads, &pid_tgid);
  s64 sent = (s32)ctx->args[1];
  u64 n, records, ssl;
  struct call *call;
  if (sent > 0) {
    bind_go(pid_tgid, OISP_WRITE, sent, (struct sock *)ctx->args[0]);
    plain(ctx, pid_tgid, OISP_WRITE, sent);
  }
  if (!t || sent <= 0)
    return 0;
  call = &t->calls[(t->depth - 1) & (CALL_DEPTH - 1)];
  if (t->depth && call->function != FN_SHUTDOWN && direction_of(call->function) == OISP_WRITE) {
    n = call->size < OISP_RECORD_CHUNK ? call->size : OISP_RECORD_CHUNK;
    records = 1;
    ssl = call->ssl;
  } else {
    ssl = t->pending;
    n = t->pending_size;
    records = (n + OISP_RECORD_CHUNK - 1) / OISP_RECORD_CHUNK;
    t->pending = 0;
    if (!ssl)
      return 0;
  }
  if (sent < n + records * RECORD_OVERHEAD_MIN || sent > n + records * RECORD_OVERHEAD_MAX)
    return 0;
  bind_socket(ssl, pid_tgid, (struct sock *)ctx->args[0]);
  return 0;
}

/* Inside SSL_read the library takes a record's header first, alone. */
SEC("raw_tp/sock_recv_length") int on_receive(struct raw_tracepoint *ctx) {
  u64 pid_tgid = bpf_get_current_pid_tgid();
  struct thread *t = bpf_map_lookup_elem(&threads, &pid_tgid);
  struct call *call;
  if ((s32)ctx->args[1] >= RECORD_HEADER)
    bind_go(pid_tgid, OISP_READ, (s32)ctx->args[1], (struct sock *)ctx->args[0]);
  if ((s32)ctx->args[1] > 0 && !((u32)ctx->args[2] & MSG_PEEK))
    plain(ctx, pid_tgid, OISP_READ, (s32)ctx->args[1]);
  if (!t || !t->depth || (s32)ctx->args[1] != RECORD_HEADER)
    return 0;
  call = &t->calls[(t->depth - 1) & (CALL_DEPTH - 1)];
  if (direction_of(call->function) == OISP_READ)
    bind_socket(call->ssl, pid_tgid, (struct sock *)ctx->args[0]);
  return 0;
}

/* A socket of plaintext HTTP has ended. */
SEC("raw_tp/inet_sock_set_state") int on_state(struct raw_tracepoint *ctx) {
  struct handle key = {.ssl = ctx->args[0]};
  struct conn *c;
  if ((u32)ctx->args[2] != TCP_CLOSE)
    return 0;
  bpf_map_delete_elem(&sockets, &key.ssl);
  c = bpf_map_lookup_elem(&conns, &key);
  if (!c)
    return 0;
  end_conn(c, 0); /* nobody's call: often the network's */
  bpf_map_delete_elem(&conns, &key);
  return 0;
}

/* ---- standard streams ---- */

#ifdef OISP_MODERN
#define S_IFMT 0170000
#define S_IFIFO 0010000
#define S_IFSOCK 0140000
#define AF_UNIX 1

/* A pipe, or a socket of this machine: what a client gives the server that it starts. */
INLINE int is_pipe(struct file *file) {
  struct inode *inode = NULL;
  struct socket *socket = NULL;
  struct sock *sk = NULL;
  u16 mode = 0, family = 0;
  if (!file)
    return 0;
  kernel_read(&inode, &file->f_inode);
  if (inode)
    kernel_read(&mode, &inode->i_mode);
  if ((mode & S_IFMT) == S_IFIFO)
    return 1;
  if ((mode & S_IFMT) != S_IFSOCK)
    return 0;
  kernel_read((void **)&socket, &file->private_data);
  if (socket)
    kernel_read(&sk, &socket->sk);
  if (sk)
    kernel_read(&family, &sk->__sk_common.skc_family);
  return family == AF_UNIX;
}

INLINE struct stdio *stdio_of(u32 tgid, u64 start) {
  struct stdio *known = bpf_map_lookup_elem(&stdio, &tgid), fresh = {.start_time = start};
  struct file *in, *out;
  if (known && known->start_time == start)
    return known;
  in = file_of(0);
  out = file_of(1);
  fresh.in = (u64)in;
  fresh.out = (u64)out;
  if (!is_pipe(in) || !is_pipe(out))
    fresh.class = STDIO_OTHER;
  bpf_map_update_elem(&stdio, &tgid, &fresh, 0);
  return bpf_map_lookup_elem(&stdio, &tgid);
}

struct rpc_look {
  u64 from;
  u64 size;
  u32 found;
};

/* The member that every message of JSON-RPC 2.0 has; where it stands is up to the client. */
static long look_for_rpc(u32 at, struct rpc_look *look) {
  u32 words[2] = {};
  u8 last = 0;
  const u8 *from = (const u8 *)look->from + at;
  if (at + 9 > look->size || bpf_probe_read_user(words, 8, from) || bpf_probe_read_user(&last, 1, from + 8))
    return 1;
  if (words[0] != WORD('"', 'j', 's', 'o') || words[1] != WORD('n', 'r', 'p', 'c') || last != '"')
    return 0;
  look->found = 1;
  return 1;
}

/* What a process reads first decides for ever: only JSON-RPC is copied. */
INLINE u32 classify_stdio(struct plain_call *p, u64 n) {
  struct piece first = {.base = p->call.buffer, .size = n};
  struct rpc_look look = {};
  u8 begin = 0;
  if (p->pieces && bpf_probe_read_user(&first, sizeof(first), (const void *)p->pieces))
    return STDIO_OTHER;
  look.from = first.base;
  look.size = first.size < n ? first.size : n;
  if (bpf_probe_read_user(&begin, 1, (const void *)look.from) || (begin != '{' && begin != '['))
    return STDIO_OTHER;
  bpf_loop(STDIO_LOOK, look_for_rpc, &look, 0);
  return look.found ? STDIO_RPC : STDIO_OTHER;
}

INLINE int is_stdio_call(u32 number, u64 third, u64 fourth, int *direction) {
  *direction = OISP_READ;
  if (number == NR_read || number == NR_readv)
    return 1;
  if (number == NR_recvfrom)
    return !(fourth & MSG_PEEK);
  if (number == NR_recvmsg)
    return !(third & MSG_PEEK);
  *direction = OISP_WRITE;
  return number == NR_write || number == NR_writev || number == NR_sendto || number == NR_sendmsg;
}

INLINE void stdio_bytes(u64 pid_tgid, u64 start, struct stdio *s, int direction, u64 n) {
  struct handle key = {.ssl = STDIO_HANDLE, .tgid = pid_tgid >> 32};
  struct thread *t = thread_of(pid_tgid);
  struct plain_walk w = {.thread = t};
  if (!t) {
    count_loss(OISP_LOST_STATE, 1, direction, n);
    return;
  }
  if (!find_buffers(&t->plain))
    return;
  if (s->class == STDIO_UNDECIDED && direction == OISP_READ)
    s->class = classify_stdio(&t->plain, n);
  if (s->class != STDIO_RPC)
    return;
  w.conn = bpf_map_lookup_elem(&conns, &key);
  if (!w.conn)
    w.conn = add_conn(&key, start, OISP_RECORD_PLAINTEXT | OISP_RECORD_STDIO | OISP_RECORD_SERVER);
  if (!w.conn) {
    count_loss(OISP_LOST_STATE, 1, direction, n);
    return;
  }
  put_pieces(&w, STDIO_HANDLE, pid_tgid, direction, n, 1);
}

/* Fires for every call of every process: loaded only when it was asked for. */
SEC("raw_tp/sys_exit") int on_syscall(struct raw_tracepoint *ctx) {
  struct pt_regs___saved *regs = (struct pt_regs___saved *)ctx->args[0];
  s64 result = ctx->args[1];
  u64 pid_tgid, start, fd = 0, third = 0, fourth = 0, file;
  struct stdio *s;
  s32 number = 0;
  int direction;
  if (result <= 0)
    return 0;
  kernel_read(&number, &regs->SYSTEM_NUMBER);
  kernel_read(&third, &regs->SYSTEM_3);
  kernel_read(&fourth, &regs->SYSTEM_4);
  if (!is_stdio_call(number, third, fourth, &direction))
    return 0;
  pid_tgid = bpf_get_current_pid_tgid();
  start = process_start((struct task_struct *)bpf_get_current_task());
  if (!current_in_scope(pid_tgid >> 32, start) || is_compat())
    return 0;
  s = stdio_of(pid_tgid >> 32, start);
  if (!s || s->class == STDIO_OTHER)
    return 0;
  kernel_read(&fd, &regs->SYSTEM_1);
  file = (u64)file_of(fd);
  if (file && file == (direction == OISP_READ ? s->in : s->out))
    stdio_bytes(pid_tgid, start, s, direction, result);
  return 0;
}
#endif

/* ---- programs ---- */

#ifdef OISP_MODERN
/* One program for every place, so that a file needs one link. */
INLINE int run_probe(struct pt_regs *ctx) {
  u64 cookie = bpf_get_attach_cookie(ctx);
  u32 function = cookie & (COOKIE_RETURN - 1);
  int returns = (cookie & COOKIE_RETURN) != 0;
  if (function >= FN_GO_READ && function <= FN_GO_SERVER)
    return returns ? leave_go(ctx, function) : enter_go(ctx, function);
  if (!returns)
    return enter(ctx, function);
  if (function == FN_NEW)
    return created(ctx);
  return leave(ctx, function, cookie & COOKIE_SHARED, REG_STACK(ctx) - (cookie & COOKIE_AFTER ? RETURN_ADDRESS : 0));
}
SEC("uprobe") int probe_any(struct pt_regs *ctx) { CHARGED(run_probe(ctx)); }
#else
#define ENTER(number) \
  SEC("uprobe") int enter_##number(struct pt_regs *ctx) { CHARGED(enter(ctx, number)); }
ENTER(1)
ENTER(2)
ENTER(3)
ENTER(4)
ENTER(5)
ENTER(6)
ENTER(7)
ENTER(8)
ENTER(9)
ENTER(10)
ENTER(11)
ENTER(12)
ENTER(18)
ENTER(19)
ENTER(20)
ENTER(21)
ENTER(22)
ENTER(23)
ENTER(24)
ENTER(25)
ENTER(26)
ENTER(27)
#define ENTER_GO(number) \
  SEC("uprobe") int enter_##number(struct pt_regs *ctx) { CHARGED(enter_go(ctx, number)); }
ENTER_GO(13)
ENTER_GO(14)
ENTER_GO(15)
ENTER_GO(16)
ENTER_GO(17)
SEC("uprobe") int leave_go_call(struct pt_regs *ctx) { CHARGED(leave_go(ctx, 0)); }
SEC("uprobe") int leave_6(struct pt_regs *ctx) { CHARGED(created(ctx)); }
SEC("uprobe") int leave_call(struct pt_regs *ctx) { CHARGED(leave(ctx, 0, 0, REG_STACK(ctx))); }
SEC("uprobe") int leave_shared(struct pt_regs *ctx) { CHARGED(leave(ctx, 0, 1, REG_STACK(ctx))); }
#endif

/* ---- processes ---- */

INLINE void put_process(u32 event, u32 pid, u32 ppid, u64 start, u32 status) {
  u64 ids = bpf_get_current_uid_gid();
  struct oisp_record_process *r = bpf_ringbuf_reserve(&control, sizeof(*r), 0);
  if (!r) {
    count_loss(LOSS_CONTROL, 1, OISP_WRITE, 0);
    return;
  }
  r->head.size = sizeof(*r);
  r->head.kind = OISP_RECORD_PROCESS;
  r->head.flags = 0;
  r->ts = bpf_ktime_get_ns();
  r->start_time = start;
  r->cgroup = bpf_get_current_cgroup_id();
  r->event = event;
  r->pid = pid;
  r->ppid = ppid;
  r->uid = (u32)ids;
  r->gid = ids >> 32;
  r->status = status;
  bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

#ifdef OISP_MODERN
struct sweep {
  u64 pid_tgid;
};

static long sweep_conn(void *map, struct handle *key, struct conn *c, struct sweep *s) {
  struct handle copy;
  if (key->tgid != s->pid_tgid >> 32)
    return 0;
  end_conn(c, s->pid_tgid);
  copy = *key;
  if (c->state & CONN_NAME)
    bpf_map_delete_elem(&names, &copy);
  bpf_map_delete_elem(&conns, &copy);
  return 0;
}
#endif

#ifdef OISP_MODERN
static long sweep_goroutine(void *map, struct goroutine *key, struct thread *t, struct sweep *s) {
  struct goroutine copy = *key;
  if (copy.tgid == s->pid_tgid >> 32)
    bpf_map_delete_elem(&goroutines, &copy);
  return 0;
}
#endif

/* The address space is gone (exit, exec): so are its handles. The basic build leaves the walk to the loader. */
INLINE void end_handles(u64 pid_tgid) {
  u32 tgid = pid_tgid >> 32;
#ifdef OISP_MODERN
  struct sweep s = {.pid_tgid = pid_tgid};
  if (!bpf_map_lookup_elem(&holders, &tgid))
    return;
  bpf_for_each_map_elem(&conns, sweep_conn, &s, 0);
  bpf_for_each_map_elem(&goroutines, sweep_goroutine, &s, 0);
#endif
  bpf_map_delete_elem(&holders, &tgid);
}

/* Fires for threads too: only a new thread group is a process. */
SEC("raw_tp/sched_process_fork") int on_fork(struct raw_tracepoint *ctx) {
  struct task_struct *child = (struct task_struct *)ctx->args[1];
  u64 pid_tgid = bpf_get_current_pid_tgid();
  u32 tgid = pid_tgid >> 32;
  int pid = 0, group = 0;
  struct member m = {};
  if (!current_in_scope(tgid, process_start((struct task_struct *)bpf_get_current_task())))
    return 0;
  kernel_read(&pid, &child->pid);
  kernel_read(&group, &child->tgid);
  if (pid != group)
    return 0;
  kernel_read(&m.start_time, &child->start_boottime);
  if (oisp_settings.mode == SCOPE_TREE || oisp_settings.mode == SCOPE_EXE) {
    u32 key = group;
    if (!oisp_settings.follow)
      return 0;
    if (bpf_map_update_elem(&scope, &key, &m, 0))
      count_loss(LOSS_CONTROL, 1, OISP_WRITE, 0);
  }
  put_process(OISP_PROCESS_FORK, group, tgid, m.start_time, 0);
  return 0;
}

SEC("raw_tp/sched_process_exec") int on_exec(struct raw_tracepoint *ctx) {
  struct task_struct *task = (struct task_struct *)bpf_get_current_task();
  u64 pid_tgid = bpf_get_current_pid_tgid();
  u32 tgid = pid_tgid >> 32;
  u64 start = process_start(task), called_as = (pid_tgid >> 32 << 32) | (u32)ctx->args[1];
  bpf_map_delete_elem(&threads, &pid_tgid);
  bpf_map_delete_elem(&threads, &called_as);
  if (oisp_settings.mode == SCOPE_EXE && runs_executable(task)) {
    struct member m = {.start_time = start};
    if (bpf_map_update_elem(&scope, &tgid, &m, 0))
      count_loss(LOSS_CONTROL, 1, OISP_WRITE, 0);
  }
  if (!current_in_scope(tgid, start))
    return 0;
  bpf_map_delete_elem(&stdio, &tgid);
  end_handles(pid_tgid);
  put_process(OISP_PROCESS_EXEC, pid_tgid >> 32, parent_of(task), start,
              (u32)ctx->args[1] != (u32)pid_tgid ? EXEC_BY_THREAD : 0);
  if (oisp_settings.mode == SCOPE_EXE && !runs_executable(task))
    bpf_map_delete_elem(&scope, &tgid); /* it runs another one now */
  return 0;
}

SEC("raw_tp/sched_process_exit") int on_exit(struct raw_tracepoint *ctx) {
  struct task_struct *task = (struct task_struct *)bpf_get_current_task();
  u64 pid_tgid = bpf_get_current_pid_tgid();
  u32 tgid = pid_tgid >> 32;
  struct signal_struct *signal = NULL;
  int alive = 1, status = 0;
  u64 start;
  bpf_map_delete_elem(&threads, &pid_tgid);
  kernel_read(&signal, &task->signal);
  if (signal)
    kernel_read(&alive, &signal->live.counter);
  if (alive)
    return 0; /* other threads of the group go on */
  if (oisp_settings.guard)
    bpf_map_delete_elem(&costs, &tgid);
  start = process_start(task);
  if (!current_in_scope(tgid, start))
    return 0;
  kernel_read(&status, &signal->group_exit_code);
  if (!status)
    kernel_read(&status, &task->exit_code);
  end_handles(pid_tgid);
  put_process(OISP_PROCESS_EXIT, tgid, parent_of(task), start, status);
  if (oisp_settings.mode == SCOPE_TREE || oisp_settings.mode == SCOPE_EXE)
    bpf_map_delete_elem(&scope, &tgid);
  return 0;
}
