/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
 *
 * Which processes are captured: the settings, the table of a command's or a process's tree, and the question that every
 * program asks first. tls.bpf.c keeps the table (fork, exit); other objects are loaded onto the same map.
 */
#ifndef OISP_BPF_SCOPE_H
#define OISP_BPF_SCOPE_H

#include "control.h"
#include "kernel.h"

const volatile struct settings oisp_settings SEC(".rodata") = {};

struct {
  MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
  MAP_NUMBER(max_entries, 32768);
  MAP_TYPE(key, u32);
  MAP_TYPE(value, struct member);
} scope SEC(".maps");

INLINE u64 process_start(struct task_struct *task) {
  struct task_struct *leader = NULL;
  u64 start = 0;
  kernel_read(&leader, &task->group_leader);
  if (leader)
    kernel_read(&start, &leader->start_boottime);
  return start;
}

INLINE int current_in_scope(u32 tgid, u64 start) {
  if (tgid == oisp_settings.self[0] || tgid == oisp_settings.self[1])
    return 0;
  if (oisp_settings.mode == SCOPE_TREE || oisp_settings.mode == SCOPE_EXE) {
    struct member *m = bpf_map_lookup_elem(&scope, &tgid);
    return m && start - m->start_time < CLOCK_TICK_NS;
  }
  if (oisp_settings.mode == SCOPE_CGROUP)
    return bpf_get_current_ancestor_cgroup_id(oisp_settings.cgroup_level) == oisp_settings.cgroup;
  if (oisp_settings.mode == SCOPE_UID)
    return (u32)bpf_get_current_uid_gid() == oisp_settings.uid;
  return oisp_settings.mode == SCOPE_ALL;
}

INLINE u32 parent_of(struct task_struct *task) {
  struct task_struct *parent = NULL;
  int tgid = 0;
  kernel_read(&parent, &task->real_parent);
  if (parent)
    kernel_read(&tgid, &parent->tgid);
  return tgid;
}

/* The file behind a descriptor of the current process. */
INLINE struct file *file_of(u32 fd) {
  struct task_struct *task = (struct task_struct *)bpf_get_current_task();
  struct files_struct *files = NULL;
  struct fdtable *table = NULL;
  struct file **slots = NULL, *file = NULL;
  u32 size = 0;
  kernel_read(&files, &task->files);
  if (files)
    kernel_read(&table, &files->fdt);
  if (!table)
    return NULL;
  kernel_read(&size, &table->max_fds);
  kernel_read(&slots, &table->fd);
  if (fd < size)
    bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
  return file;
}

/* Programs of another width number their system calls otherwise. */
INLINE int is_compat(void) {
  struct task_struct *task = (struct task_struct *)bpf_get_current_task();
#if defined(OISP_X86_64)
  u32 status = 0;
  kernel_read(&status, &task->thread_info.status);
  return status & 2; /* TS_COMPAT */
#else
  unsigned long flags = 0;
  kernel_read(&flags, &task->thread_info.flags);
  return flags >> 22 & 1; /* TIF_32BIT */
#endif
}

/* What a process runs: of SCOPE_EXE. */
INLINE int runs_executable(struct task_struct *task) {
  struct mm_struct *mm = NULL;
  struct file *file = NULL;
  struct inode *inode = NULL;
  struct super_block *sb = NULL;
  unsigned long number = 0;
  u32 device = 0;
  kernel_read(&mm, &task->mm);
  if (mm)
    kernel_read(&file, &mm->exe_file);
  if (file)
    kernel_read(&inode, &file->f_inode);
  if (!inode)
    return 0;
  kernel_read(&number, &inode->i_ino);
  kernel_read(&sb, &inode->i_sb);
  if (sb)
    kernel_read(&device, &sb->s_dev);
  return number == oisp_settings.exe_inode && device == oisp_settings.exe_device;
}

#endif
