/* SPDX-License-Identifier: Apache-2.0
 *
 * What a tool does, told from its name alone: the names under which widely used agents and providers offer file, shell and
 * web tools. Compared whole, ASCII case folded, `-` as `_`. A name that is not here says nothing: the field is left out.
 */
#ifndef OISP_TOOLNAME_H
#define OISP_TOOLNAME_H

#include "contract.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define OISP_TOOL_NAMES(X) \
  X("read", FILE_READ) \
  X("read_file", FILE_READ) \
  X("read_many_files", FILE_READ) \
  X("view_file", FILE_READ) \
  X("open_file", FILE_READ) \
  X("write", FILE_WRITE) \
  X("write_file", FILE_WRITE) \
  X("create_file", FILE_WRITE) \
  X("write_to_file", FILE_WRITE) \
  X("edit", FILE_EDIT) \
  X("multiedit", FILE_EDIT) \
  X("edit_file", FILE_EDIT) \
  X("notebookedit", FILE_EDIT) \
  X("apply_patch", FILE_EDIT) \
  X("apply_diff", FILE_EDIT) \
  X("replace_in_file", FILE_EDIT) \
  X("str_replace_editor", FILE_EDIT) \
  X("str_replace_based_edit_tool", FILE_EDIT) \
  X("text_editor_code_execution", FILE_EDIT) \
  X("bash", SHELL) \
  X("shell", SHELL) \
  X("local_shell", SHELL) \
  X("exec_command", SHELL) \
  X("execute_command", SHELL) \
  X("run_command", SHELL) \
  X("run_shell_command", SHELL) \
  X("run_in_terminal", TERMINAL) \
  X("run_terminal_cmd", TERMINAL) \
  X("terminal", TERMINAL) \
  X("browser", BROWSER) \
  X("browser_action", BROWSER) \
  X("fetch", HTTP) \
  X("http_request", HTTP) \
  X("web_fetch", HTTP) \
  X("webfetch", HTTP) \
  X("execute_sql", DATABASE) \
  X("query_database", DATABASE) \
  X("sql_query", DATABASE) \
  X("bash_code_execution", CODE_EXECUTION) \
  X("code_execution", CODE_EXECUTION) \
  X("code_interpreter", CODE_EXECUTION) \
  X("python", CODE_EXECUTION) \
  X("glob", SEARCH) \
  X("grep", SEARCH) \
  X("codebase_search", SEARCH) \
  X("google_search", SEARCH) \
  X("grep_search", SEARCH) \
  X("search_files", SEARCH) \
  X("web_search", SEARCH) \
  X("websearch", SEARCH) \
  X("file_search", RETRIEVAL) \
  X("retrieval", RETRIEVAL) \
  X("computer", COMPUTER_USE) \
  X("computer_use", COMPUTER_USE)

/* enum oisp_agent_tool_type, or 0. */
static inline unsigned oisp_tool_type_of(const uint8_t *name, size_t size) {
#define OISP_TOOL_NAME(word, type) {word, sizeof word - 1, OISP_AGENT_TOOL_TYPE_##type},
  static const struct {
    const char *word;
    uint8_t size, type;
  } known[] = {OISP_TOOL_NAMES(OISP_TOOL_NAME)};
#undef OISP_TOOL_NAME
  char folded[32];
  if (size == 0 || size >= sizeof folded)
    return 0;
  for (size_t i = 0; i < size; i++)
    folded[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i] == '-' ? '_' : name[i]);
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (known[i].size == size && memcmp(known[i].word, folded, size) == 0)
      return known[i].type;
  return 0;
}

#endif
