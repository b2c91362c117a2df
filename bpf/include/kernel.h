/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
 *
 * What these programs need of the kernel: a few fields of a few structs (relocated against the running kernel's BTF when
 * the object is loaded, so that their offsets here mean nothing), helper numbers of the stable BPF interface, and the
 * register files that the user ABI fixes. It is not a dump of the kernel's types.
 */
#ifndef OISP_BPF_KERNEL_H
#define OISP_BPF_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define NULL ((void *)0)

/* BTF-defined maps: the loader reads the numbers out of these types. */
#define MAP_NUMBER(name, value) int (*name)[value]
#define MAP_TYPE(name, type) typeof(type) *name
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_NOEXIST 1
#define BPF_F_NO_PREALLOC 1
#define BPF_F_MMAPABLE 1024
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0

/* Helpers, numbered by include/uapi/linux/bpf.h. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static u64 (*bpf_get_current_uid_gid)(void) = (void *)15;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static u64 (*bpf_get_current_cgroup_id)(void) = (void *)80;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static long (*bpf_probe_read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static u64 (*bpf_get_current_ancestor_cgroup_id)(int level) = (void *)123;
static void *(*bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *record, u64 flags) = (void *)132;
static void (*bpf_ringbuf_discard)(void *record, u64 flags) = (void *)133;
static u64 (*bpf_ringbuf_query)(void *ring, u64 what) = (void *)134;
#ifdef OISP_MODERN
static long (*bpf_for_each_map_elem)(void *map, void *callback, void *context, u64 flags) = (void *)164;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static long (*bpf_task_pt_regs)(struct task_struct *task) = (void *)175;
static u64 (*bpf_get_attach_cookie)(void *context) = (void *)174;
static long (*bpf_loop)(u32 rounds, void *callback, void *context, u64 flags) = (void *)181;
#endif

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6

struct in6_addr {
  u8 bytes[16];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct atomic_counter {
  int counter;
};
struct signal_struct {
  struct atomic_counter live;
  int group_exit_code;
  u64 utime;
  u64 stime;
};
struct ns_common {
  u32 inum;
};
struct net {
  struct ns_common ns;
};
typedef struct {
  struct net *net;
} possible_net_t;
struct sock_common {
  u16 skc_family;
  u16 skc_dport;
  u32 skc_daddr;
  u32 skc_rcv_saddr;
  struct in6_addr skc_v6_daddr;
  struct in6_addr skc_v6_rcv_saddr;
  possible_net_t skc_net;
  unsigned long skc_flags;
};
struct sock {
  struct sock_common __sk_common;
  u16 sk_protocol;
  int sk_err;
};
struct inet_sock {
  u16 inet_sport;
};
struct tcp_sock {
  u64 bytes_sent;
  u64 bytes_retrans;
  u64 bytes_received;
  u32 segs_in;
  u32 segs_out;
};
struct net_device {
  possible_net_t nd_net;
};
struct sk_buff {
  struct net_device *dev;
  unsigned char *head;
  unsigned char *data;
  u32 len;
  u32 data_len;
  u16 network_header;
};
struct super_block {
  unsigned long s_magic;
  u32 s_dev;
};
struct inode {
  u16 i_mode;
  unsigned long i_ino;
  s64 i_size;
  struct super_block *i_sb;
};
struct qstr {
  u32 len;
  const unsigned char *name;
};
struct dentry {
  struct dentry *d_parent;
  struct qstr d_name;
};
struct vfsmount {
  struct dentry *mnt_root;
};
struct mount {
  struct mount *mnt_parent;
  struct dentry *mnt_mountpoint;
  struct vfsmount mnt;
};
struct path {
  struct vfsmount *mnt;
  struct dentry *dentry;
};
struct file {
  struct path f_path;
  struct inode *f_inode;
  u32 f_flags;
  u32 f_mode;
  void *private_data;
};
struct socket {
  struct sock *sk;
};
struct fdtable {
  u32 max_fds;
  struct file **fd;
};
struct files_struct {
  struct fdtable *fdt;
};
struct fs_struct {
  struct path root;
  struct path pwd;
};
struct mm_struct {
  unsigned long arg_start;
  unsigned long arg_end;
  struct file *exe_file;
};
struct linux_binprm {
  const char *filename;
  const char *interp;
};
struct thread_info {
  unsigned long flags;
  u32 status; /* x86 */
};
struct task_struct {
  struct thread_info thread_info;
  int pid;
  int tgid;
  int exit_code;
  u64 start_boottime;
  struct task_struct *group_leader;
  struct task_struct *real_parent;
  struct signal_struct *signal;
  struct mm_struct *mm;
  struct fs_struct *fs;
  struct files_struct *files;
  u64 utime;
  u64 stime;
};
/* The registers of a system call as the kernel saved them; what follows the three underscores is not the type's name. */
struct pt_regs___saved {
#if defined(OISP_X86_64)
  unsigned long orig_ax, di, si, dx, r10;
#else
  u64 regs[31];
  u64 orig_x0;
  s32 syscallno;
#endif
};
#pragma clang attribute pop

/* Reads one field through a relocated address: kernel_read(&to, &task->field). */
#define kernel_read(to, from) \
  bpf_probe_read_kernel((to), sizeof(*(to)), (const void *)__builtin_preserve_access_index(from))

struct raw_tracepoint {
  u64 args[3];
};

/* Volatile: the compiler must not choose between two registers by arithmetic on the context's address. */
#if defined(OISP_X86_64)
#define SYSTEM_NUMBER orig_ax
#define SYSTEM_1 di
#define SYSTEM_2 si
#define SYSTEM_3 dx
#define SYSTEM_4 r10
struct pt_regs {
  unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define REG_1(c) ((u64)((volatile struct pt_regs *)(c))->di)
#define REG_2(c) ((u64)((volatile struct pt_regs *)(c))->si)
#define REG_3(c) ((u64)((volatile struct pt_regs *)(c))->dx)
#define REG_4(c) ((u64)((volatile struct pt_regs *)(c))->cx)
#define REG_5(c) ((u64)((volatile struct pt_regs *)(c))->r8)
#define REG_RESULT(c) ((u64)((volatile struct pt_regs *)(c))->ax)
/* Go's own convention (ABIInternal). */
#define REG_GO_1(c) ((u64)((volatile struct pt_regs *)(c))->ax)
#define REG_GO_2(c) ((u64)((volatile struct pt_regs *)(c))->bx)
#define REG_GO_3(c) ((u64)((volatile struct pt_regs *)(c))->cx)
#define REG_GO_G(c) ((u64)((volatile struct pt_regs *)(c))->r14)
#define GO_G_OFFSET __builtin_offsetof(struct pt_regs, r14)
#define REG_STACK(c) ((u64)((volatile struct pt_regs *)(c))->sp)
#define RETURN_ADDRESS 8 /* on the stack, between entry and return */
#elif defined(OISP_AARCH64)
#define SYSTEM_NUMBER syscallno
#define SYSTEM_1 orig_x0
#define SYSTEM_2 regs[1]
#define SYSTEM_3 regs[2]
#define SYSTEM_4 regs[3]
struct pt_regs {
  unsigned long regs[31], sp, pc, pstate;
};
#define REG_1(c) ((u64)((volatile struct pt_regs *)(c))->regs[0])
#define REG_2(c) ((u64)((volatile struct pt_regs *)(c))->regs[1])
#define REG_3(c) ((u64)((volatile struct pt_regs *)(c))->regs[2])
#define REG_4(c) ((u64)((volatile struct pt_regs *)(c))->regs[3])
#define REG_5(c) ((u64)((volatile struct pt_regs *)(c))->regs[4])
#define REG_RESULT(c) ((u64)((volatile struct pt_regs *)(c))->regs[0])
#define REG_GO_1(c) REG_1(c)
#define REG_GO_2(c) REG_2(c)
#define REG_GO_3(c) REG_3(c)
#define REG_GO_G(c) ((u64)((volatile struct pt_regs *)(c))->regs[28])
#define GO_G_OFFSET (28 * sizeof(unsigned long))
#define REG_STACK(c) ((u64)((volatile struct pt_regs *)(c))->sp)
#define RETURN_ADDRESS 0 /* in a register */
#else
#error "no register file for this architecture"
#endif

#endif
