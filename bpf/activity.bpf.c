/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
 *
 * What the processes of the scope do: fork, exec and exit; TCP connections; names asked over UDP; files (the modern build
 * only: it can walk its tables when a process ends). Writes the records of oisp/activity.h into the ring `activity`.
 *
 * Loaded onto the scope table of tls.bpf.c, and attached before it: that program takes a process out of the table when it
 * exits, and this one must have seen the exit by then.
 *
 * Not here: which paths or addresses are worth an event (rules of the reader), and what is done through mapped memory or
 * io_uring, which no system call shows.
 */
#include "kernel.h"

#include "control.h"
#include "oisp/activity.h"
#include "scope.h"

#ifndef OISP_SOURCE_HASH
#define OISP_SOURCE_HASH "unbuilt"
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";
const volatile char oisp_source_hash[65] SEC(".rodata") = OISP_SOURCE_HASH;

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
  MAP_NUMBER(max_entries, 4 << 20);
} activity SEC(".maps");

/* By kind of record, from OISP_RECORD_TEXT; then states that found no room, and openings of files (without which their
 * end has no name). */
#define LOSS_TABLE 5
#define LOSS_OPEN 6
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, 8);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, u64);
} activity_losses SEC(".maps");

INLINE void lose(u32 which) {
  u64 *n = bpf_map_lookup_elem(&activity_losses, &which);
  if (n)
    __sync_fetch_and_add(n, 1);
}

INLINE u64 wake_flags(void) {
  return bpf_ringbuf_query(&activity, BPF_RB_AVAIL_DATA) >= (1 << 20) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* ---- who ---- */

struct owner {
  u64 start_time;
  u64 cgroup;
  u64 opened;
  u64 id;
  u32 pid;
  u32 tid;
  u32 uid;
  u32 gid;
  u32 ppid;
  u32 accepted;
};

INLINE struct task_struct *current(void) { return (struct task_struct *)bpf_get_current_task(); }

/* The process that runs now, if it is of the scope. */
INLINE int find_owner(struct owner *o) {
  u64 pid_tgid = bpf_get_current_pid_tgid(), ids;
  o->start_time = process_start(current());
  o->pid = pid_tgid >> 32;
  if (!current_in_scope(o->pid, o->start_time))
    return 0;
  ids = bpf_get_current_uid_gid();
  o->tid = (u32)pid_tgid;
  o->uid = (u32)ids;
  o->gid = ids >> 32;
  o->cgroup = bpf_get_current_cgroup_id();
  o->ppid = parent_of(current());
  o->opened = bpf_ktime_get_ns();
  o->id = o->accepted = 0;
  return 1;
}

INLINE void begin(struct oisp_activity *r, u32 size, u16 kind, u16 event, const struct owner *o) {
  __builtin_memset(r, 0, size);
  r->head.size = size;
  r->head.kind = kind;
  r->ts = bpf_ktime_get_ns();
  r->start_time = o->start_time;
  r->cgroup = o->cgroup;
  r->pid = o->pid;
  r->tid = o->tid;
  r->uid = o->uid;
  r->gid = o->gid;
  r->ppid = o->ppid;
  r->event = event;
}

/* ---- texts ---- */

INLINE void head_text(struct oisp_activity_text *r, u32 slot, u32 size, u32 flags, u32 index) {
  r->head.size = (sizeof(*r) + size + 7) & ~7U;
  r->head.kind = OISP_RECORD_TEXT;
  r->head.flags = 0;
  r->tid = (u32)bpf_get_current_pid_tgid();
  r->slot = slot;
  r->flags = flags;
  r->size = size;
  r->index = index;
}

#define PATH_DEPTH 40
#define NAME_BYTES 256 /* a name in a path has at most 255 */

struct place {
  struct dentry *dentry;
  struct vfsmount *mnt;
  struct dentry *root_dentry;
  struct vfsmount *root_mnt;
};

/* One step up. 1: `dentry` has a name before the step, 0: it crossed a mount, -1: the top. */
INLINE int step_up(struct place *p, struct dentry **named) {
  struct dentry *top = NULL, *up = NULL, *dentry = p->dentry;
  struct vfsmount *mnt = p->mnt;
  struct mount *m, *parent = NULL;
  const u64 at = __builtin_preserve_field_info(((struct mount *)0)->mnt, 0);
  if (!dentry || !mnt || (dentry == p->root_dentry && mnt == p->root_mnt))
    return -1;
  kernel_read(&top, &mnt->mnt_root);
  if (dentry == top) {
    m = (struct mount *)((u64)mnt - at);
    kernel_read(&parent, &m->mnt_parent);
    if (!parent || parent == m)
      return -1;
    kernel_read(&p->dentry, &m->mnt_mountpoint);
    p->mnt = (struct vfsmount *)((u64)parent + at);
    return 0;
  }
  kernel_read(&up, &dentry->d_parent);
  if (!up || up == dentry)
    return -1;
  *named = dentry;
  p->dentry = up;
  return 1;
}

INLINE void place_root(struct place *p) {
  struct fs_struct *fs = NULL;
  struct task_struct *task = current();
  p->root_dentry = NULL;
  p->root_mnt = NULL;
  kernel_read(&fs, &task->fs);
  if (!fs)
    return;
  kernel_read(&p->root_dentry, &fs->root.dentry);
  kernel_read(&p->root_mnt, &fs->root.mnt);
}

/* Global functions: the verifier reads each once, whoever calls it. */
__attribute__((noinline)) u32 path_length(u64 dentry, u64 mnt) {
  struct place p = {.dentry = (struct dentry *)dentry, .mnt = (struct vfsmount *)mnt};
  struct dentry *named = NULL;
  u32 size = 0, length = 0;
  int i, step;
  place_root(&p);
  for (i = 0; i < PATH_DEPTH; i++) {
    step = step_up(&p, &named);
    if (step < 0)
      break;
    if (!step)
      continue;
    length = 0;
    kernel_read(&length, &named->d_name.len);
    size += (length & (NAME_BYTES - 1)) + 1;
  }
  return size;
}

/* Writes the path backwards into a text of a class of sizes; what is deeper than PATH_DEPTH is cut at its beginning. */
#define PUT_PATH(class) \
  struct oisp_activity_text *r = bpf_ringbuf_reserve(&activity, sizeof(*r) + (class) + NAME_BYTES, 0); \
  struct place p = {.dentry = (struct dentry *)dentry, .mnt = (struct vfsmount *)mnt}; \
  struct dentry *named = NULL; \
  const unsigned char *from; \
  u32 at = size, length; \
  u64 n; \
  int i, step = 0; \
  u8 *text; \
  if (!r) { \
    lose(0); \
    return 0; \
  } \
  text = (u8 *)(r + 1); \
  text[0] = '/'; \
  place_root(&p); \
  for (i = 0; i < PATH_DEPTH; i++) { \
    step = step_up(&p, &named); \
    if (step < 0) \
      break; \
    if (!step) \
      continue; \
    length = 0; \
    from = NULL; \
    kernel_read(&length, &named->d_name.len); \
    kernel_read(&from, &named->d_name.name); \
    n = length; \
    if ((n & (NAME_BYTES - 1)) + 1 > at) \
      break; \
    at -= (n & (NAME_BYTES - 1)) + 1; \
    text[at & ((class) - 1)] = '/'; \
    asm volatile("" : "+r"(n)); \
    n &= NAME_BYTES - 1; /* the verifier wants the bound on this very register */ \
    bpf_probe_read_kernel(text + (at & ((class) - 1)) + 1, n, from); \
  } \
  head_text(r, slot, size ? size : 1, step >= 0 || at ? OISP_TEXT_CUT : 0, 0); \
  bpf_ringbuf_submit(r, wake_flags()); \
  return 1

__attribute__((noinline)) u32 put_short_path(u64 dentry, u64 mnt, u32 size, u32 slot) { PUT_PATH(128); }
__attribute__((noinline)) u32 put_long_path(u64 dentry, u64 mnt, u32 size, u32 slot) { PUT_PATH(4096); }

/* The path as the process itself sees it. 1: it is in the ring. */
INLINE u32 put_path(struct dentry *dentry, struct vfsmount *mnt, u32 slot) {
  u32 size = path_length((u64)dentry, (u64)mnt);
  if (size <= 128)
    return put_short_path((u64)dentry, (u64)mnt, size, slot);
  if (size <= 4096)
    return put_long_path((u64)dentry, (u64)mnt, size, slot);
  lose(0);
  return 0;
}

INLINE u32 put_path_of(struct file *file, u32 slot) {
  struct dentry *dentry = NULL;
  struct vfsmount *mnt = NULL;
  kernel_read(&dentry, &file->f_path.dentry);
  kernel_read(&mnt, &file->f_path.mnt);
  return put_path(dentry, mnt, slot);
}

INLINE u32 put_directory(u32 slot) {
  struct task_struct *task = current();
  struct fs_struct *fs = NULL;
  struct dentry *dentry = NULL;
  struct vfsmount *mnt = NULL;
  kernel_read(&fs, &task->fs);
  if (!fs)
    return 0;
  kernel_read(&dentry, &fs->pwd.dentry);
  kernel_read(&mnt, &fs->pwd.mnt);
  return put_path(dentry, mnt, slot);
}

#define PUT_STRING(class, read) \
  struct oisp_activity_text *r = bpf_ringbuf_reserve(&activity, sizeof(*r) + (class), 0); \
  long n; \
  if (!r) { \
    lose(0); \
    return 0; \
  } \
  n = read((u8 *)(r + 1), (class), (const void *)from); \
  if (n <= 0) { \
    head_text(r, slot, 0, OISP_TEXT_FAULT, 0); \
  } else { \
    if (n == (class) && (class) < 4096) { \
      bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP); \
      return 2; \
    } \
    head_text(r, slot, (u32)(n - 1) & 4095, n == (class) ? OISP_TEXT_CUT : 0, 0); \
  } \
  bpf_ringbuf_submit(r, wake_flags()); \
  return 1

__attribute__((noinline)) u32 put_short_kernel_string(u64 from, u32 slot) {
  PUT_STRING(128, bpf_probe_read_kernel_str);
}
__attribute__((noinline)) u32 put_long_kernel_string(u64 from, u32 slot) {
  PUT_STRING(4096, bpf_probe_read_kernel_str);
}
__attribute__((noinline)) u32 put_short_user_string(u64 from, u32 slot) { PUT_STRING(128, bpf_probe_read_user_str); }
__attribute__((noinline)) u32 put_long_user_string(u64 from, u32 slot) { PUT_STRING(4096, bpf_probe_read_user_str); }

INLINE u32 put_kernel_string(const void *from, u32 slot) {
  u32 done = put_short_kernel_string((u64)from, slot);
  return done == 2 ? put_long_kernel_string((u64)from, slot) : done;
}

INLINE u32 put_user_string(u64 from, u32 slot) {
  u32 done = put_short_user_string(from, slot);
  return done == 2 ? put_long_user_string(from, slot) : done;
}

#define PIECE 4096
#define PIECES 32 /* 128 KiB: the longest single argument that the kernel takes */

#define PUT_PIECE(class) \
  struct oisp_activity_text *r = bpf_ringbuf_reserve(&activity, sizeof(*r) + (class), 0); \
  u32 flags = 0; \
  u64 n = size; \
  if (!r) { \
    lose(0); \
    return 0; \
  } \
  asm volatile("" : "+r"(n)); \
  if (n > (class)) \
    n = (class); \
  if (bpf_probe_read_user((u8 *)(r + 1), n, (const void *)from)) { \
    flags = OISP_TEXT_FAULT; \
    n = 0; \
  } \
  head_text(r, OISP_TEXT_ARGUMENTS, n, flags, index); \
  bpf_ringbuf_submit(r, wake_flags()); \
  return 1

__attribute__((noinline)) u32 put_small_piece(u64 from, u32 size, u32 index) { PUT_PIECE(256); }
__attribute__((noinline)) u32 put_piece(u64 from, u32 size, u32 index) { PUT_PIECE(PIECE); }

__attribute__((noinline)) u32 put_arguments(u64 from, u64 size) {
  u32 i, put = 0;
  for (i = 0; i < PIECES; i++) {
    if (!size)
      break;
    if (size <= 256)
      put += put_small_piece(from, size, i);
    else
      put += put_piece(from, size < PIECE ? size : PIECE, i);
    if (size <= PIECE)
      break;
    from += PIECE;
    size -= PIECE;
  }
  return put;
}

/* ---- files: what a process has open ---- */

#ifdef OISP_MODERN
struct descriptor {
  u32 tgid;
  u32 fd;
};

struct opened_key {
  u64 file;
  u64 tgid;
};

struct opened {
  u64 id;
  u64 since;
  u64 read;
  u64 written;
  u64 inode;
  u32 device;
  u32 flags;
  u32 mode;
  u32 state;
  s32 references; /* descriptors of this process */
  u32 fd;
};

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 65536);
  MAP_TYPE(key, struct descriptor);
  MAP_TYPE(value, u64);
} descriptors SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 65536);
  MAP_TYPE(key, struct opened_key);
  MAP_TYPE(value, struct opened);
} opened SEC(".maps");

/* Thread groups with entries above: spares the others the walk at their end. */
struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 32768);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, u64);
} file_holders SEC(".maps");

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
  MAP_NUMBER(max_entries, 1);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, u64);
} next_file SEC(".maps");

#define S_IFMT 0170000
#define S_IFREG 0100000
#define PROC_SUPER_MAGIC 0x9fa0
#define SYSFS_MAGIC 0x62656572
#define CGROUP2_SUPER_MAGIC 0x63677270
#define TRACEFS_MAGIC 0x74726163
#define DEBUGFS_MAGIC 0x64626720
#define SECURITYFS_MAGIC 0x73636673
#define BPF_FS_MAGIC 0xcafe4a11
#define NSFS_MAGIC 0x6e736673

/* A regular file of a file system that holds data: /proc, /sys and their like are the kernel speaking. */
INLINE int is_data_file(struct file *file, struct opened *o) {
  struct inode *inode = NULL;
  struct super_block *sb = NULL;
  unsigned long magic = 0, number = 0;
  u16 mode = 0;
  kernel_read(&inode, &file->f_inode);
  if (!inode)
    return 0;
  kernel_read(&mode, &inode->i_mode);
  if ((mode & S_IFMT) != S_IFREG)
    return 0;
  kernel_read(&sb, &inode->i_sb);
  if (!sb)
    return 0;
  kernel_read(&magic, &sb->s_magic);
  if (magic == PROC_SUPER_MAGIC || magic == SYSFS_MAGIC || magic == CGROUP2_SUPER_MAGIC || magic == TRACEFS_MAGIC ||
      magic == DEBUGFS_MAGIC || magic == SECURITYFS_MAGIC || magic == BPF_FS_MAGIC || magic == NSFS_MAGIC)
    return 0;
  kernel_read(&number, &inode->i_ino);
  o->inode = number;
  kernel_read(&o->device, &sb->s_dev);
  o->mode = mode;
  kernel_read(&o->flags, &file->f_flags);
  return 1;
}

INLINE u64 file_size(struct file *file) {
  struct inode *inode = NULL;
  s64 size = 0;
  kernel_read(&inode, &file->f_inode);
  if (inode)
    kernel_read(&size, &inode->i_size);
  return size;
}

INLINE void put_file(u16 event, const struct owner *who, const struct opened *o, u64 size, u32 texts) {
  struct oisp_activity_file *r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
  if (!r) {
    lose(event == OISP_FILE_OPEN ? LOSS_OPEN : OISP_RECORD_FILE_EVENT - OISP_RECORD_TEXT);
    return;
  }
  begin(&r->base, sizeof(*r), OISP_RECORD_FILE_EVENT, event, who);
  r->base.texts = texts;
  if (o) {
    r->file = o->id;
    r->opened = o->since;
    r->inode = o->inode;
    r->size = size;
    r->read = o->read;
    r->written = o->written;
    r->device = o->device;
    r->flags = o->flags;
    r->mode = o->mode;
    r->state = o->state;
    r->fd = o->fd;
  }
  bpf_ringbuf_submit(r, wake_flags());
}

INLINE void hold(u32 tgid) {
  u64 one = 1;
  bpf_map_update_elem(&file_holders, &tgid, &one, BPF_NOEXIST);
}

#define FMODE_CREATED 0x100000
#define O_TRUNC 01000

/* Functions of their own, here and below: the stacks of all that are in progress together have 512 bytes. */
__attribute__((noinline)) static struct opened *note_file(const struct owner *who, struct file *file, u32 fd,
                                                          u32 state) {
  struct descriptor d = {.tgid = who->pid, .fd = fd};
  struct opened_key key = {.file = (u64)file, .tgid = who->pid};
  struct opened o = {.since = bpf_ktime_get_ns(), .references = 1, .fd = fd, .state = state};
  u32 zero = 0, mode = 0;
  u64 address = (u64)file, *next;
  if (!is_data_file(file, &o))
    return NULL;
  if (!(state & OISP_FILE_INHERITED)) {
    kernel_read(&mode, &file->f_mode);
    if (mode & FMODE_CREATED)
      o.state |= OISP_FILE_CREATED;
  }
  next = bpf_map_lookup_elem(&next_file, &zero);
  if (!next)
    return NULL;
  o.id = __sync_fetch_and_add(next, 1) + 1;
  if (bpf_map_update_elem(&opened, &key, &o, 0) || bpf_map_update_elem(&descriptors, &d, &address, 0)) {
    lose(LOSS_TABLE);
    return NULL;
  }
  hold(who->pid);
  return bpf_map_lookup_elem(&opened, &key);
}

INLINE struct opened *add_file(const struct owner *who, struct file *file, u32 fd, u32 state) {
  struct opened *o = note_file(who, file, fd, state);
  if (o)
    put_file(OISP_FILE_OPEN, who, o, file_size(file), put_path_of(file, OISP_TEXT_PATH));
  return o;
}

/* One descriptor of a file less; with the last one the file is done with, for this process. */
INLINE void let_go(const struct owner *who, struct descriptor *d, u64 file) {
  struct opened_key key = {.file = file, .tgid = d->tgid};
  struct opened *o = bpf_map_lookup_elem(&opened, &key);
  struct opened copy;
  bpf_map_delete_elem(&descriptors, d);
  if (!o)
    return;
  o->references--;
  if (o->references > 0)
    return;
  copy = *o;
  bpf_map_delete_elem(&opened, &key);
  put_file(OISP_FILE_CLOSE, who, &copy, 0, 0);
}

__attribute__((noinline)) static void closed(const struct owner *who, u32 fd) {
  struct descriptor d = {.tgid = who->pid, .fd = fd};
  u64 *file = bpf_map_lookup_elem(&descriptors, &d);
  if (file)
    let_go(who, &d, *file);
}

__attribute__((noinline)) static void file_opened(const struct owner *who, u32 fd, u32 flags) {
  struct file *file = file_of(fd);
  closed(who, fd); /* its end was not seen */
  if (file)
    add_file(who, file, fd, flags & O_TRUNC ? OISP_FILE_TRUNCATED : 0);
}

__attribute__((noinline)) static struct opened *file_used(const struct owner *who, u32 fd) {
  struct file *file = file_of(fd);
  struct opened_key key = {.file = (u64)file, .tgid = who->pid};
  struct opened *o;
  if (!file)
    return NULL;
  o = bpf_map_lookup_elem(&opened, &key);
  if (o)
    return o;
  closed(who, fd);
  return add_file(who, file, fd, OISP_FILE_INHERITED);
}

INLINE void moved(const struct owner *who, u32 fd, s64 n, int writes) {
  struct opened *o = file_used(who, fd);
  if (!o)
    return;
  if (writes)
    __sync_fetch_and_add(&o->written, n);
  else if (n)
    __sync_fetch_and_add(&o->read, n);
  else
    o->state |= OISP_FILE_AT_END;
}

INLINE void duplicated(const struct owner *who, u32 old, u32 fd) {
  struct descriptor from = {.tgid = who->pid, .fd = old}, to = {.tgid = who->pid, .fd = fd};
  struct opened_key key = {.tgid = who->pid};
  struct opened *o;
  u64 *file, address;
  if (old == fd)
    return;
  closed(who, fd);
  file = bpf_map_lookup_elem(&descriptors, &from);
  if (!file)
    return;
  address = key.file = *file;
  o = bpf_map_lookup_elem(&opened, &key);
  if (!o)
    return;
  if (bpf_map_update_elem(&descriptors, &to, &address, 0))
    lose(LOSS_TABLE);
  else
    o->references++;
}

struct file_sweep {
  struct owner who;
  u32 first;
  u32 last;
  u32 only_closed;
  u32 left;
};

static long sweep_descriptor(void *map, struct descriptor *d, u64 *file, struct file_sweep *s) {
  struct descriptor copy = *d;
  u64 address = *file;
  if (d->tgid != s->who.pid || d->fd < s->first || d->fd > s->last)
    return 0;
  if (s->only_closed && (u64)file_of(d->fd) == address) {
    s->left = 1;
    return 0;
  }
  let_go(&s->who, &copy, address);
  return 0;
}

/* Descriptors first..last of the process: all, or (after exec) those that are not open any more. */
__attribute__((noinline)) static void sweep_files(const struct owner *who, u32 first, u32 last, u32 only_closed) {
  struct file_sweep s = {.who = *who, .first = first, .last = last, .only_closed = only_closed};
  u32 tgid = who->pid;
  if (!bpf_map_lookup_elem(&file_holders, &tgid))
    return;
  bpf_for_each_map_elem(&descriptors, sweep_descriptor, &s, 0);
  if (last == ~0U && first == 0 && !s.left)
    bpf_map_delete_elem(&file_holders, &tgid);
}

/* A name as the call gave it, and what it is relative to. */
INLINE u32 put_name(u64 name, s32 base, u32 name_slot, u32 base_slot) {
  struct file *file;
  u8 first = 0;
  u32 put = put_user_string(name, name_slot);
  bpf_probe_read_user(&first, 1, (const void *)name);
  if (first == '/')
    return put;
  if (base == -100) /* AT_FDCWD */
    return put + put_directory(base_slot);
  file = file_of(base);
  return file ? put + put_path_of(file, base_slot) : put;
}

#if defined(OISP_X86_64)
#define NR(x86_64, aarch64) x86_64
#else
#define NR(x86_64, aarch64) aarch64
#endif
#define AT_REMOVEDIR 0x200
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030

__attribute__((noinline)) static void removed(const struct owner *who, u64 name, s32 base, u32 directory) {
  u32 texts = put_name(name, base, OISP_TEXT_NAME, OISP_TEXT_BASE);
  put_file(directory ? OISP_FILE_RMDIR : OISP_FILE_DELETE, who, NULL, 0, texts);
}

__attribute__((noinline)) static void renamed(const struct owner *who, u64 name, s32 base, u64 to, s32 to_base) {
  u32 texts = put_name(name, base, OISP_TEXT_NAME, OISP_TEXT_BASE);
  texts += put_name(to, to_base, OISP_TEXT_NEW_NAME, OISP_TEXT_NEW_BASE);
  put_file(OISP_FILE_RENAME, who, NULL, 0, texts);
}

struct syscall {
  u64 a, b, c, d;
  s64 result;
};

/* What a call does to files. Most calls do nothing to them: they must cost no more than this question. */
enum action {
  ACT_NONE,
  ACT_READ,      /* (fd, ...) answers what was read */
  ACT_WRITE,     /* (fd, ...) */
  ACT_SEND,      /* (out, in, ...) */
  ACT_COPY,      /* (in, offset, out, ...) */
  ACT_OPEN,      /* (path, flags) */
  ACT_CREATE,    /* (path) */
  ACT_OPENAT,    /* (base, path, flags) */
  ACT_OPENAT2,   /* (base, path, how) */
  ACT_DUPLICATE, /* (fd, ...) answers the other one */
  ACT_FCNTL,
  ACT_CLOSE,
  ACT_CLOSE_RANGE,
  ACT_TRUNCATE, /* (fd) */
  ACT_UNLINK,   /* (path) */
  ACT_RMDIR,    /* (path) */
  ACT_RENAME,   /* (path, path) */
  ACT_UNLINKAT, /* (base, path, flags) */
  ACT_RENAMEAT  /* (base, path, base, path) */
};

INLINE enum action action_of(s32 number) {
  switch (number) {
  case NR(0, 63):    /* read */
  case NR(17, 67):   /* pread64 */
  case NR(19, 65):   /* readv */
  case NR(295, 69):  /* preadv */
  case NR(327, 286): /* preadv2 */
    return ACT_READ;
  case NR(1, 64):    /* write */
  case NR(18, 68):   /* pwrite64 */
  case NR(20, 66):   /* writev */
  case NR(296, 70):  /* pwritev */
  case NR(328, 287): /* pwritev2 */
    return ACT_WRITE;
  case NR(40, 71): /* sendfile */
    return ACT_SEND;
  case NR(326, 285): /* copy_file_range */
  case NR(275, 76):  /* splice */
    return ACT_COPY;
#if defined(OISP_X86_64)
  case 2: /* open */
    return ACT_OPEN;
  case 85: /* creat */
    return ACT_CREATE;
  case 33: /* dup2 */
    return ACT_DUPLICATE;
  case 87: /* unlink */
    return ACT_UNLINK;
  case 84: /* rmdir */
    return ACT_RMDIR;
  case 82: /* rename */
    return ACT_RENAME;
#endif
  case NR(257, 56): /* openat */
    return ACT_OPENAT;
  case 437: /* openat2 */
    return ACT_OPENAT2;
  case NR(32, 23):  /* dup */
  case NR(292, 24): /* dup3 */
    return ACT_DUPLICATE;
  case NR(72, 25): /* fcntl */
    return ACT_FCNTL;
  case NR(3, 57): /* close */
    return ACT_CLOSE;
  case 436: /* close_range */
    return ACT_CLOSE_RANGE;
  case NR(77, 46): /* ftruncate */
    return ACT_TRUNCATE;
  case NR(263, 35): /* unlinkat */
    return ACT_UNLINKAT;
  case NR(264, 38):  /* renameat */
  case NR(316, 276): /* renameat2 */
    return ACT_RENAMEAT;
  default:
    return ACT_NONE;
  }
}

INLINE void act(const struct owner *who, enum action action, const struct syscall *s) {
  struct opened *o;
  u64 flags = 0;
  switch (action) {
  case ACT_READ:
    moved(who, s->a, s->result, 0);
    return;
  case ACT_WRITE:
    moved(who, s->a, s->result, 1);
    return;
  case ACT_SEND:
    moved(who, s->a, s->result, 1);
    moved(who, s->b, s->result, 0);
    return;
  case ACT_COPY:
    moved(who, s->a, s->result, 0);
    moved(who, s->c, s->result, 1);
    return;
  case ACT_OPEN:
    file_opened(who, s->result, s->b);
    return;
  case ACT_CREATE:
    file_opened(who, s->result, O_TRUNC);
    return;
  case ACT_OPENAT:
    file_opened(who, s->result, s->c);
    return;
  case ACT_OPENAT2:
    bpf_probe_read_user(&flags, sizeof(flags), (const void *)s->c);
    file_opened(who, s->result, flags);
    return;
  case ACT_FCNTL:
    if ((u32)s->b != F_DUPFD && (u32)s->b != F_DUPFD_CLOEXEC)
      return;
    duplicated(who, s->a, s->result);
    return;
  case ACT_DUPLICATE:
    duplicated(who, s->a, s->result);
    return;
  case ACT_CLOSE:
    closed(who, s->a);
    return;
  case ACT_CLOSE_RANGE:
    if (!(s->c & 4)) /* CLOSE_RANGE_CLOEXEC */
      sweep_files(who, s->a, s->b, 0);
    return;
  case ACT_TRUNCATE:
    o = file_used(who, s->a);
    if (o)
      o->state |= OISP_FILE_TRUNCATED;
    return;
  case ACT_UNLINK:
  case ACT_RMDIR:
    removed(who, s->a, -100, action == ACT_RMDIR);
    return;
  case ACT_RENAME:
    renamed(who, s->a, -100, s->b, -100);
    return;
  case ACT_UNLINKAT:
    removed(who, s->b, s->a, s->c & AT_REMOVEDIR);
    return;
  case ACT_RENAMEAT:
    renamed(who, s->b, s->a, s->d, s->c);
    return;
  default:
    return;
  }
}

SEC("raw_tp/sys_exit") int on_syscall(struct raw_tracepoint *ctx) {
  struct pt_regs___saved *regs = (struct pt_regs___saved *)ctx->args[0];
  struct syscall s = {.result = ctx->args[1]};
  struct owner who = {};
  enum action action;
  s32 number = 0;
  kernel_read(&number, &regs->SYSTEM_NUMBER);
  action = action_of(number);
  /* A close that was interrupted (EINTR) has closed. */
  if (action == ACT_NONE || (s.result < 0 && !(action == ACT_CLOSE && s.result == -4)))
    return 0;
  if (!find_owner(&who) || is_compat())
    return 0;
  kernel_read(&s.a, &regs->SYSTEM_1);
  kernel_read(&s.b, &regs->SYSTEM_2);
  kernel_read(&s.c, &regs->SYSTEM_3);
  kernel_read(&s.d, &regs->SYSTEM_4);
  act(&who, action, &s);
  return 0;
}
#endif

/* ---- processes ---- */

INLINE struct oisp_activity_process *reserve_process(u16 event, const struct owner *who) {
  struct oisp_activity_process *r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
  if (!r) {
    lose(OISP_RECORD_PROCESS_EVENT - OISP_RECORD_TEXT);
    return NULL;
  }
  begin(&r->base, sizeof(*r), OISP_RECORD_PROCESS_EVENT, event, who);
  return r;
}

SEC("raw_tp/sched_process_fork") int on_fork(struct raw_tracepoint *ctx) {
  struct task_struct *child = (struct task_struct *)ctx->args[1];
  struct oisp_activity_process *r;
  struct owner who = {};
  int pid = 0, group = 0;
  kernel_read(&pid, &child->pid);
  kernel_read(&group, &child->tgid);
  if (pid != group || !find_owner(&who))
    return 0;
  r = reserve_process(OISP_PROCESS_FORK, &who);
  if (!r)
    return 0;
  r->child = group;
  kernel_read(&r->child_start, &child->start_boottime);
  bpf_ringbuf_submit(r, wake_flags());
  return 0;
}

SEC("raw_tp/sched_process_exec") int on_exec(struct raw_tracepoint *ctx) {
  struct task_struct *task = current();
  struct linux_binprm *image = (struct linux_binprm *)ctx->args[2];
  struct oisp_activity_process *r;
  struct mm_struct *mm = NULL;
  struct file *program = NULL;
  const char *name = NULL, *interpreter = NULL;
  struct owner who = {};
  unsigned long first = 0, last = 0;
  u32 texts = 0;
  if (!find_owner(&who))
    return 0;
#ifdef OISP_MODERN
  sweep_files(&who, 0, ~0U, 1);
#endif
  kernel_read(&name, &image->filename);
  if (name)
    texts += put_kernel_string(name, OISP_TEXT_FILE);
  texts += put_directory(OISP_TEXT_DIRECTORY);
  kernel_read(&mm, &task->mm);
  if (mm) {
    kernel_read(&program, &mm->exe_file);
    kernel_read(&first, &mm->arg_start);
    kernel_read(&last, &mm->arg_end);
  }
  if (program)
    texts += put_path_of(program, OISP_TEXT_EXE);
  if (last > first)
    texts += put_arguments(first, last - first);
  r = reserve_process(OISP_PROCESS_EXEC, &who);
  if (!r)
    return 0;
  kernel_read(&interpreter, &image->interp);
  r->base.head.flags = interpreter != name;
  r->base.texts = texts;
  r->arguments = last - first;
  bpf_ringbuf_submit(r, wake_flags());
  return 0;
}

SEC("raw_tp/sched_process_exit") int on_exit(struct raw_tracepoint *ctx) {
  struct task_struct *task = current();
  struct signal_struct *signal = NULL;
  struct oisp_activity_process *r;
  struct owner who = {};
  int alive = 1, status = 0;
  u64 time = 0;
  kernel_read(&signal, &task->signal);
  if (signal)
    kernel_read(&alive, &signal->live.counter);
  if (alive || !find_owner(&who))
    return 0;
#ifdef OISP_MODERN
  sweep_files(&who, 0, ~0U, 0);
#endif
  r = reserve_process(OISP_PROCESS_EXIT, &who);
  if (!r)
    return 0;
  kernel_read(&status, &signal->group_exit_code);
  if (!status)
    kernel_read(&status, &task->exit_code);
  r->status = status;
  kernel_read(&r->user_ns, &task->utime);
  kernel_read(&time, &signal->utime);
  r->user_ns += time;
  kernel_read(&r->system_ns, &task->stime);
  kernel_read(&time, &signal->stime);
  r->system_ns += time;
  bpf_ringbuf_submit(r, wake_flags());
  return 0;
}

/* ---- connections ---- */

#define SOCK_DONE 2 /* 1 << the kernel's number: the peer has sent its last byte */
enum tcp_state { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7, TCP_LISTEN = 10 };

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 65536);
  MAP_TYPE(key, u64);
  MAP_TYPE(value, struct owner);
} sockets SEC(".maps");

struct listener {
  u32 netns;
  u32 port;
};

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 8192);
  MAP_TYPE(key, struct listener);
  MAP_TYPE(value, struct owner);
} listeners SEC(".maps");

INLINE u32 netns_of(struct sock *sk) {
  struct net *net = NULL;
  u32 number = 0;
  kernel_read(&net, &sk->__sk_common.skc_net.net);
  if (net)
    kernel_read(&number, &net->ns.inum);
  return number;
}

INLINE void fill_addresses(struct oisp_activity_network *r, struct sock *sk) {
  u16 family = 0, port = 0;
  kernel_read(&family, &sk->__sk_common.skc_family);
  if (family == AF_INET6) {
    kernel_read((struct in6_addr *)r->local_ip, &sk->__sk_common.skc_v6_rcv_saddr);
    kernel_read((struct in6_addr *)r->remote_ip, &sk->__sk_common.skc_v6_daddr);
  } else {
    r->local_ip[10] = r->local_ip[11] = r->remote_ip[10] = r->remote_ip[11] = 0xff;
    kernel_read((u32 *)&r->local_ip[12], &sk->__sk_common.skc_rcv_saddr);
    kernel_read((u32 *)&r->remote_ip[12], &sk->__sk_common.skc_daddr);
  }
  kernel_read(&port, &((struct inet_sock *)sk)->inet_sport);
  r->local_port = __builtin_bswap16(port);
  kernel_read(&port, &sk->__sk_common.skc_dport);
  r->remote_port = __builtin_bswap16(port);
}

INLINE void fill_counts(struct oisp_activity_network *r, struct sock *sk) {
  struct tcp_sock *tcp = (struct tcp_sock *)sk;
  u64 again = 0;
  unsigned long flags = 0;
  u32 packets = 0;
  kernel_read(&r->bytes_sent, &tcp->bytes_sent);
  kernel_read(&again, &tcp->bytes_retrans);
  r->bytes_sent -= again;
  kernel_read(&r->bytes_received, &tcp->bytes_received);
  kernel_read(&flags, &sk->__sk_common.skc_flags);
  if (flags & SOCK_DONE && r->bytes_received)
    r->bytes_received--; /* the peer's FIN is counted as a byte */
  kernel_read(&packets, &tcp->segs_out);
  r->packets_sent = packets;
  kernel_read(&packets, &tcp->segs_in);
  r->packets_received = packets;
}

__attribute__((noinline)) static void put_network(u16 event, const struct owner *who, struct sock *sk, u16 error) {
  struct oisp_activity_network *r = bpf_ringbuf_reserve(&activity, sizeof(*r), 0);
  if (!r) {
    lose(OISP_RECORD_NETWORK_EVENT - OISP_RECORD_TEXT);
    return;
  }
  begin(&r->base, sizeof(*r), OISP_RECORD_NETWORK_EVENT, event, who);
  r->socket = who->id;
  r->opened = who->opened;
  r->error = error;
  r->accepted = who->accepted;
  fill_addresses(r, sk);
  if (event >= OISP_NETWORK_FLOW)
    fill_counts(r, sk);
  bpf_ringbuf_submit(r, wake_flags());
}

INLINE void add_socket(struct sock *sk, struct owner *who) {
  u64 key = (u64)sk;
  who->opened = bpf_ktime_get_ns();
  who->id = who->opened ^ key << 20;
  if (bpf_map_update_elem(&sockets, &key, who, 0))
    lose(LOSS_TABLE);
}

INLINE void listens(struct sock *sk, int begins) {
  struct listener key = {.netns = netns_of(sk)};
  struct owner who = {};
  u16 port = 0;
  kernel_read(&port, &((struct inet_sock *)sk)->inet_sport);
  key.port = __builtin_bswap16(port);
  if (!begins)
    bpf_map_delete_elem(&listeners, &key);
  else if (find_owner(&who) && bpf_map_update_elem(&listeners, &key, &who, 0))
    lose(LOSS_TABLE);
}

INLINE void accepted(struct sock *sk) {
  struct listener key = {.netns = netns_of(sk)};
  struct owner *listener, who;
  u16 port = 0;
  kernel_read(&port, &((struct inet_sock *)sk)->inet_sport);
  key.port = __builtin_bswap16(port);
  listener = bpf_map_lookup_elem(&listeners, &key);
  if (!listener)
    return;
  who = *listener;
  who.accepted = 1;
  add_socket(sk, &who);
  put_network(OISP_NETWORK_ACCEPT, &who, sk, 0);
}

INLINE void connection_ended(struct sock *sk, int from) {
  u64 key = (u64)sk;
  struct owner *found = bpf_map_lookup_elem(&sockets, &key), who;
  int error = 0;
  if (!found)
    return;
  who = *found;
  bpf_map_delete_elem(&sockets, &key);
  if (from != TCP_SYN_SENT) {
    put_network(OISP_NETWORK_FLOW, &who, sk, 0);
    return;
  }
  kernel_read(&error, &sk->sk_err);
  put_network(OISP_NETWORK_CONNECT, &who, sk, error ? error : 103); /* given up by the caller: ECONNABORTED */
}

SEC("raw_tp/inet_sock_set_state") int on_state(struct raw_tracepoint *ctx) {
  struct sock *sk = (struct sock *)ctx->args[0];
  int from = ctx->args[1], to = ctx->args[2];
  u64 key = (u64)sk;
  struct owner who = {}, *found;
  u16 protocol = 0;
  kernel_read(&protocol, &sk->sk_protocol);
  if (protocol != IPPROTO_TCP)
    return 0;
  if (to == TCP_LISTEN || (from == TCP_LISTEN && to == TCP_CLOSE)) { /* LISTEN to SYN_RECV is a copy being made */
    listens(sk, to == TCP_LISTEN);
  } else if (to == TCP_SYN_SENT) {
    if (find_owner(&who))
      add_socket(sk, &who);
  } else if (to == TCP_ESTABLISHED && from == TCP_SYN_RECV) {
    found = bpf_map_lookup_elem(&sockets, &key);
    if (found)
      put_network(OISP_NETWORK_CONNECT, found, sk, 0); /* both sides called each other */
    else
      accepted(sk);
  } else if (to == TCP_ESTABLISHED) {
    found = bpf_map_lookup_elem(&sockets, &key);
    if (found)
      put_network(OISP_NETWORK_CONNECT, found, sk, 0);
  } else if (to == TCP_CLOSE) {
    connection_ended(sk, from);
  }
  return 0;
}

/* ---- names ---- */

#define DNS_PORT 53
#define DNS_BYTES 1232 /* what servers send over UDP without being cut */
#define IPPROTO_UDP 17

struct asked_key {
  u8 server[16];
  u16 port;
  u16 id;
  u32 netns;
};

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 8192);
  MAP_TYPE(key, struct asked_key);
  MAP_TYPE(value, struct owner);
} asked SEC(".maps");

struct datagram {
  u8 from[16];
  u8 to[16];
  u16 from_port;
  u16 to_port;
  u16 id;
  u16 zero;
  u32 size;
  u64 payload;
};

/* A UDP datagram to or from port 53 at a network header. */
INLINE int read_datagram(u64 at, u64 end, struct datagram *d) {
  u8 head[40] = {}, udp[10] = {};
  u64 header = 20;
  if (at + 28 > end || bpf_probe_read_kernel(head, 20, (const void *)at))
    return 0;
  if (head[0] >> 4 == 4) {
    header = (head[0] & 15) * 4;
    if (head[9] != IPPROTO_UDP || (head[6] & 0x1f) || head[7])
      return 0;
    d->from[10] = d->from[11] = d->to[10] = d->to[11] = 0xff;
    __builtin_memcpy(d->from + 12, head + 12, 4);
    __builtin_memcpy(d->to + 12, head + 16, 4);
  } else if (head[0] >> 4 == 6) {
    header = 40;
    if (bpf_probe_read_kernel(head, 40, (const void *)at) || head[6] != IPPROTO_UDP)
      return 0;
    __builtin_memcpy(d->from, head + 8, 16);
    __builtin_memcpy(d->to, head + 24, 16);
  } else {
    return 0;
  }
  if (at + header + 10 > end || bpf_probe_read_kernel(udp, 10, (const void *)(at + header)))
    return 0;
  d->from_port = udp[0] << 8 | udp[1];
  d->to_port = udp[2] << 8 | udp[3];
  d->id = udp[8] << 8 | udp[9];
  d->payload = at + header + 8;
  d->size = end - d->payload;
  return 1;
}

__attribute__((noinline)) static void put_dns(u16 event, const struct owner *who, const struct datagram *d) {
  struct oisp_activity_dns *r = bpf_ringbuf_reserve(&activity, sizeof(*r) + DNS_BYTES, 0);
  u64 n = d->size;
  if (!r) {
    lose(OISP_RECORD_DNS_MESSAGE - OISP_RECORD_TEXT);
    return;
  }
  begin(&r->base, sizeof(*r), OISP_RECORD_DNS_MESSAGE, event, who);
  asm volatile("" : "+r"(n));
  if (n > DNS_BYTES)
    n = DNS_BYTES;
  if (bpf_probe_read_kernel((u8 *)(r + 1), n, (const void *)d->payload))
    n = 0;
  r->asked = who->opened;
  __builtin_memcpy(r->server_ip, event == OISP_DNS_QUERY ? d->to : d->from, 16);
  r->local_port = event == OISP_DNS_QUERY ? d->from_port : d->to_port;
  r->server_port = DNS_PORT;
  r->size = n;
  r->base.head.size = (sizeof(*r) + n + 7) & ~7U;
  bpf_ringbuf_submit(r, wake_flags());
}

INLINE u32 device_netns(struct sk_buff *skb) {
  struct net_device *dev = NULL;
  struct net *net = NULL;
  u32 number = 0;
  kernel_read(&dev, &skb->dev);
  if (!dev)
    return 0;
  kernel_read(&net, &dev->nd_net.net);
  if (net)
    kernel_read(&number, &net->ns.inum);
  return number;
}

/* The linear part of a buffer: from `at` to its end. */
INLINE u64 linear_end(struct sk_buff *skb) {
  unsigned char *data = NULL;
  u32 size = 0, paged = 0;
  kernel_read(&data, &skb->data);
  kernel_read(&size, &skb->len);
  kernel_read(&paged, &skb->data_len);
  return (u64)data + size - paged;
}

/* A packet leaves: in the process that sends it, for what UDP sends. */
SEC("raw_tp/net_dev_queue") int on_packet_out(struct raw_tracepoint *ctx) {
  struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
  struct datagram d = {};
  struct asked_key key = {};
  struct owner who = {};
  unsigned char *base = NULL;
  u16 at = 0;
  kernel_read(&base, &skb->head);
  kernel_read(&at, &skb->network_header);
  if (!read_datagram((u64)base + at, linear_end(skb), &d) || d.to_port != DNS_PORT || !find_owner(&who))
    return 0;
  __builtin_memcpy(key.server, d.to, 16);
  key.port = d.from_port;
  key.id = d.id;
  key.netns = device_netns(skb);
  put_dns(OISP_DNS_QUERY, &who, &d);
  if (bpf_map_update_elem(&asked, &key, &who, 0))
    lose(LOSS_TABLE);
  return 0;
}

SEC("raw_tp/netif_receive_skb") int on_packet_in(struct raw_tracepoint *ctx) {
  struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
  struct datagram d = {};
  struct asked_key key = {};
  struct owner *found, who;
  unsigned char *data = NULL;
  kernel_read(&data, &skb->data);
  if (!read_datagram((u64)data, linear_end(skb), &d) || d.from_port != DNS_PORT)
    return 0;
  __builtin_memcpy(key.server, d.from, 16);
  key.port = d.to_port;
  key.id = d.id;
  key.netns = device_netns(skb);
  found = bpf_map_lookup_elem(&asked, &key);
  if (!found)
    return 0;
  who = *found;
  bpf_map_delete_elem(&asked, &key);
  put_dns(OISP_DNS_ANSWER, &who, &d);
  return 0;
}
