/* SPDX-License-Identifier: Apache-2.0
 *
 * See include/oisp/mask.h. One walk: at each beginning of a word the forms are tried in turn; the first that fits is replaced.
 * No form holds a quote or a backslash, so that a mask never reaches out of its string or into an escape.
 */
#include "oisp/mask.h"
#include "oisp/bytes.h"
#include <string.h>

typedef struct text {
  const uint8_t *at, *end;
} text;

static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }
static inline int is_letter(uint8_t c) { return (uint8_t)((c | 0x20) - 'a') < 26; }
static inline int is_word(uint8_t c) { return is_digit(c) || is_letter(c); }
static inline int is_token_char(uint8_t c) { return is_word(c) || c == '_' || c == '-' || c == '.'; }

static int begins(text t, const char *lower, size_t size) {
  return (size_t)(t.end - t.at) >= size && oisp_equal_nocase(t.at, lower, size);
}

static size_t run_of(text t, int (*is)(uint8_t)) {
  const uint8_t *p = t.at;
  while (p < t.end && is(*p))
    p++;
  return (size_t)(p - t.at);
}

/* ---- credentials ---- */

static const struct {
  const char *text;
  uint8_t size, least; /* bytes that must follow */
} prefixes[] = {
#define PREFIX(text, least) {text, sizeof text - 1, least}
    PREFIX("sk-", 16),      PREFIX("sk_live_", 12),    PREFIX("sk_test_", 12),    PREFIX("rk_live_", 12),
    PREFIX("pk_live_", 12), PREFIX("gsk_", 16),        PREFIX("xai-", 16),        PREFIX("pplx-", 16),
    PREFIX("hf_", 16),      PREFIX("r8_", 16),         PREFIX("fw_", 16),         PREFIX("csk-", 16),
    PREFIX("nvapi-", 16),   PREFIX("pcsk_", 16),       PREFIX("tgp_v1_", 16),     PREFIX("AIza", 30),
    PREFIX("ya29.", 16),    PREFIX("AKIA", 16),        PREFIX("ASIA", 16),        PREFIX("ABSK", 30),
    PREFIX("ghp_", 20),     PREFIX("gho_", 20),        PREFIX("ghu_", 20),        PREFIX("ghs_", 20),
    PREFIX("ghr_", 20),     PREFIX("github_pat_", 20), PREFIX("glpat-", 16),      PREFIX("xoxb-", 16),
    PREFIX("xoxp-", 16),    PREFIX("xoxa-", 16),       PREFIX("xoxs-", 16),       PREFIX("npm_", 20),
    PREFIX("dop_v1_", 20),  PREFIX("SG.", 30),         PREFIX("AccountKey=", 20), PREFIX("whsec_", 16),
#undef PREFIX
};

static int is_token(uint8_t c) { return is_token_char(c); }

/* Three parts in base64url, the first of which begins as `{"` does. */
static size_t jwt(text t) {
  if (t.end - t.at < 20 || memcmp(t.at, "eyJ", 3) != 0)
    return 0;
  size_t size = run_of(t, is_token);
  int dots = 0;
  for (size_t i = 0; i < size; i++)
    dots += t.at[i] == '.';
  return dots == 2 ? size : 0;
}

static int is_random(uint8_t c) { return is_word(c) || c == '+' || c == '/' || c == '_' || c == '-'; }

/* Long, and of capitals, small letters and digits alike: no word of a language looks so. */
static size_t random_string(text t) {
  size_t size = run_of(t, is_random), upper = 0, lower = 0, digits = 0, slashes = 0;
  if (size < 32)
    return 0;
  for (size_t i = 0; i < size; i++) {
    upper += (uint8_t)(t.at[i] - 'A') < 26;
    lower += (uint8_t)(t.at[i] - 'a') < 26;
    digits += is_digit(t.at[i]);
    slashes += t.at[i] == '/' || t.at[i] == '-' || t.at[i] == '_';
  }
  return upper >= 4 && lower >= 4 && digits >= 4 && slashes * 8 < size ? size : 0;
}

/* Letters with which a prefix begins: most words need no walk through the list. */
static int may_begin_key(uint8_t c) { return c && strchr("srpgxhfcntAydSw", c) != NULL; }

static size_t key(text t) {
  for (size_t i = 0; may_begin_key(*t.at) && i < sizeof prefixes / sizeof prefixes[0]; i++) {
    size_t head = prefixes[i].size;
    if ((size_t)(t.end - t.at) < head || memcmp(t.at, prefixes[i].text, head) != 0)
      continue;
    size_t body = run_of((text){t.at + head, t.end}, prefixes[i].text[head - 1] == '=' ? is_random : is_token);
    if (body >= prefixes[i].least)
      return head + body;
  }
  size_t size = jwt(t);
  return size ? size : random_string(t);
}

static size_t private_key(text t) {
  static const char from[] = "-----BEGIN ", until[] = "-----END ";
  if (!begins(t, "-----begin ", sizeof from - 1))
    return 0;
  const uint8_t *p = t.at + sizeof from - 1;
  const uint8_t *line = memchr(p, '-', (size_t)(t.end - p));
  if (line == NULL || line - p < 11 || memcmp(line - 11, "PRIVATE KEY", 11) != 0)
    return 0;
  for (p = line; p < t.end && *p != '"'; p++)
    if (*p == '-' && (size_t)(t.end - p) >= sizeof until - 1 && memcmp(p, until, sizeof until - 1) == 0) {
      p += sizeof until - 1;
      while (p < t.end && (is_letter(*p) || *p == ' '))
        p++;
      while (p < t.end && *p == '-')
        p++;
      return (size_t)(p - t.at);
    }
  return (size_t)((p < t.end && p[-1] == '\\' ? p - 1 : p) - t.at); /* its end is missing */
}

/* ---- what is assigned to a name ---- */

static const char *const names[] = {"password",    "passwd",   "passphrase",    "pwd",           "secret",
                                    "api_key",     "api-key",  "apikey",        "access_key",    "token",
                                    "private_key", "auth_key", "client_secret", "authorization", "credential"};

static int is_secret(uint8_t c) {
  return c > ' ' && c < 0x7F && c != '"' && c != '\\' && c != '\'' && c != ',' && c != ';' && c != '<' && c != '>' &&
         c != ')' && c != '}' && c != ']' && c != '&' && c != '`';
}

/* After a name: quotes, blanks, one colon or equals sign. Where its value begins, or NULL. */
static const uint8_t *value_after(const uint8_t *p, const uint8_t *end) {
  int sign = 0;
  for (int i = 0; p < end && i < 12; i++, p++) {
    if ((*p == ':' || *p == '=') && !sign)
      sign = 1;
    else if (*p == '\\' && p + 1 < end && p[1] == '"')
      p++;
    else if (*p != ' ' && *p != '"' && *p != '\'' && *p != '`')
      break;
  }
  return sign && p < end ? p : NULL;
}

static int is_number_char(uint8_t c) { return is_digit(c) || c == '.'; }

static int is_scheme_word(text t) { return begins(t, "bearer ", 7) || begins(t, "basic ", 6); }

/* The value of an assignment: where it begins into *from, its size. */
static int may_begin_name(uint8_t c) { return (c |= 0x20) && strchr("psatcb", c) != NULL; }

static int is_short_number(text t, size_t size) { return size < 6 && run_of(t, is_number_char) == size; }

static size_t secret(text t, const uint8_t **from) {
  if (!may_begin_name(*t.at))
    return 0;
  if (is_scheme_word(t)) {
    *from = t.at + (begins(t, "bearer ", 7) ? 7 : 6);
    size_t size = run_of((text){*from, t.end}, is_secret);
    return size >= 8 ? size : 0;
  }
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    size_t size = strlen(names[i]);
    if (!begins(t, names[i], size))
      continue;
    const uint8_t *p = t.at + size;
    if (p < t.end && (*p | 0x20) == 's')
      p++;
    p = value_after(p, t.end);
    if (p == NULL)
      continue;
    text value = {p, t.end};
    if (is_scheme_word(value))
      value.at += begins(value, "bearer ", 7) ? 7 : 6;
    size_t length = run_of(value, is_secret);
    if (length < 4 || is_short_number(value, length))
      continue; /* `tokens: 4096` is none */
    *from = value.at;
    return length;
  }
  return 0;
}

/* user:password of scheme://user:password@host; t stands at "://". */
static size_t user_information(text t, const uint8_t **from) {
  if (!begins(t, "://", 3))
    return 0;
  const uint8_t *p = t.at + 3;
  *from = p;
  while (p < t.end && is_secret(*p) && *p != '/' && *p != '?' && *p != '#' && *p != '@')
    p++;
  return p < t.end && *p == '@' && memchr(*from, ':', (size_t)(p - *from)) ? (size_t)(p - *from) : 0;
}

/* ---- people ---- */

static int is_local(uint8_t c) { return is_word(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'; }
static int is_host(uint8_t c) { return is_word(c) || c == '.' || c == '-'; }

static size_t email(text t) {
  size_t local = run_of(t, is_local);
  const uint8_t *p = t.at + local;
  if (local == 0 || p >= t.end || *p != '@')
    return 0;
  p++;
  size_t host = run_of((text){p, t.end}, is_host);
  while (host && (p[host - 1] == '.' || p[host - 1] == '-'))
    host--;
  size_t top = 0;
  while (top < host && is_letter(p[host - 1 - top]))
    top++;
  return top >= 2 && host > top + 1 && p[host - 1 - top] == '.' ? local + 1 + host : 0;
}

/* Digits with single blanks, dashes or dots between them; how many into *digits, their values into `values`. */
static size_t digits_of(text t, uint8_t *values, size_t most, size_t *digits, const char *between) {
  const uint8_t *p = t.at, *last = p;
  size_t n = 0;
  while (p < t.end && n < most) {
    if (is_digit(*p)) {
      values[n++] = (uint8_t)(*p - '0');
      last = ++p;
    } else if (n && p + 1 < t.end && p == last && strchr(between, *p) && *p && is_digit(p[1]))
      p++;
    else
      break;
  }
  *digits = n;
  return (size_t)(last - t.at);
}

static size_t card(text t) {
  uint8_t v[20];
  size_t n, size = digits_of(t, v, 20, &n, " -");
  if (n < 13 || n > 19 || v[0] < 2 || v[0] > 6)
    return 0;
  unsigned sum = 0;
  for (size_t i = 0; i < n; i++) {
    unsigned d = v[n - 1 - i];
    if (i % 2)
      d = d > 4 ? 2 * d - 9 : 2 * d;
    sum += d;
  }
  return sum % 10 == 0 ? size : 0;
}

static size_t ssn(text t) {
  static const char form[] = "ddd-dd-dddd";
  if ((size_t)(t.end - t.at) < sizeof form - 1)
    return 0;
  for (size_t i = 0; i < sizeof form - 1; i++)
    if (form[i] == 'd' ? !is_digit(t.at[i]) : t.at[i] != form[i])
      return 0;
  return t.at + 11 < t.end && (is_word(t.at[11]) || t.at[11] == '-') ? 0 : 11;
}

/* +49 30 1234567, (415) 555-2671, 415-555-2671. */
static size_t phone(text t) {
  uint8_t v[16];
  size_t n, size;
  if (*t.at == '+') {
    const uint8_t *p = t.at + 1;
    size = digits_of((text){p, t.end}, v, 16, &n, " -.");
    return n >= 8 && n <= 15 ? size + 1 : 0;
  }
  const uint8_t *p = t.at;
  int open = *p == '(';
  p += open;
  if (t.end - p < 12 || !is_digit(p[0]) || !is_digit(p[1]) || !is_digit(p[2]))
    return 0;
  const uint8_t *q = p + 3;
  if (open ? *q != ')' : (*q != '-' && *q != '.'))
    return 0;
  q += open && q[1] == ' ' ? 2 : 1;
  size = digits_of((text){q, t.end}, v, 8, &n, "-.");
  return n == 7 && size == 8 && !is_digit(q[3]) ? (size_t)(q - t.at) + 8 : 0;
}

static size_t iban(text t) {
  const uint8_t *p = t.at;
  uint8_t v[34];
  size_t n = 0;
  if (t.end - p < 15 || (uint8_t)(p[0] - 'A') > 25 || (uint8_t)(p[1] - 'A') > 25 || !is_digit(p[2]) || !is_digit(p[3]))
    return 0;
  const uint8_t *last = p;
  while (p < t.end && n < 34) {
    if (is_digit(*p) || (uint8_t)(*p - 'A') < 26) {
      v[n++] = *p;
      last = ++p;
    } else if (*p == ' ' && p == last && p + 1 < t.end && (is_digit(p[1]) || (uint8_t)(p[1] - 'A') < 26))
      p++;
    else
      break;
  }
  if (n < 15)
    return 0;
  unsigned rest = 0;
  for (size_t i = 0; i < n; i++) {
    uint8_t c = v[(i + 4) % n];
    rest = is_digit(c) ? (rest * 10 + (c - '0')) % 97 : (rest * 100 + (unsigned)(c - 'A' + 10)) % 97;
  }
  return rest == 1 ? (size_t)(last - t.at) : 0;
}

/* ---- most words are none: told by their first two letters, and by what ends them ---- */

enum { WORD = 1, RANDOM = 2, LOCAL = 4 };

/* Filled when the library is loaded, before any other thread can see them; read-only from then on. */
static uint8_t classes[256];       /* of a byte: enum above */
static uint32_t second_of[2]
                         [256]; /* after a first letter of a name (0, any case) or key (1): five bits of the second */

static void note_pair(int table, const char *word) {
  second_of[table][(uint8_t)word[0]] |= 1u << (word[1] & 31);
  if (table == 0 && is_letter((uint8_t)word[0]))
    second_of[0][(uint8_t)word[0] ^ 0x20] |= 1u << (word[1] & 31);
}

__attribute__((constructor)) static void note_words(void) {
  for (int c = 0; c < 256; c++)
    classes[c] = (uint8_t)((is_word((uint8_t)c) ? WORD : 0) | (is_random((uint8_t)c) ? RANDOM : 0) |
                           (is_local((uint8_t)c) ? LOCAL : 0));
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    note_pair(0, names[i]);
  note_pair(0, "bearer");
  note_pair(0, "basic");
  for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
    note_pair(1, prefixes[i].text);
  note_pair(1, "eyJ"); /* a JWT */
}

/* Ends of runs that were looked for last: they hold for every place before them. */
typedef struct ahead {
  const uint8_t *at_sign, *local_end, *random_end;
} ahead;

static inline const uint8_t *class_end(text t, uint8_t class) {
  const uint8_t *p = t.at;
  while (p < t.end && classes[*p] & class)
    p++;
  return p;
}

static inline int may_be_email(text t, ahead *a) {
  if (a->at_sign < t.at) {
    a->at_sign = memchr(t.at, '@', (size_t)(t.end - t.at));
    if (a->at_sign == NULL)
      a->at_sign = t.end;
  }
  if (a->at_sign == t.end)
    return 0;
  if (a->local_end <= t.at)
    a->local_end = class_end(t, LOCAL);
  return a->local_end == a->at_sign;
}

/* Whether a form may begin with the letter at t. */
static inline int may_begin(text t, ahead *a) {
  if (a->random_end <= t.at)
    a->random_end = class_end(t, RANDOM);
  if (a->random_end - t.at >= 32 || may_be_email(t, a))
    return 1;
  if (t.end - t.at < 4) /* shorter than any form */
    return 0;
  uint8_t second = t.at[1] & 31;
  if ((second_of[0][t.at[0]] | second_of[1][t.at[0]]) >> second & 1)
    return 1;
  return (uint8_t)(t.at[0] - 'A') < 26 && (uint8_t)(t.at[1] - 'A') < 26 && is_digit(t.at[2]); /* an IBAN */
}

/* ---- the walk ---- */

/* The form that begins at t: what it is; the span to replace into *from and *size. */
static int form_at(text t, const uint8_t **from, size_t *size) {
  *from = t.at;
  uint8_t c = *t.at;
  if (c == '-')
    return (*size = private_key(t)) ? OISP_MASK_PRIVATE_KEY : OISP_MASK_NONE;
  if (c == ':')
    return (*size = user_information(t, from)) ? OISP_MASK_SECRET : OISP_MASK_NONE;
  if (c == '+' || c == '(')
    return (*size = phone(t)) ? OISP_MASK_PHONE : OISP_MASK_NONE;
  if (is_digit(c)) {
    if ((*size = card(t)))
      return OISP_MASK_CARD;
    if ((*size = ssn(t)))
      return OISP_MASK_SSN;
    if ((*size = phone(t)))
      return OISP_MASK_PHONE;
  } else {
    if ((*size = iban(t)))
      return OISP_MASK_IBAN;
    if ((*size = secret(t, from)))
      return OISP_MASK_SECRET;
    *from = t.at;
  }
  if ((*size = email(t)))
    return OISP_MASK_EMAIL;
  return (*size = key(t)) ? OISP_MASK_KEY : OISP_MASK_NONE;
}

static int put_mask(oisp_buffer *out, int kind, int quoted) {
  static const char *const words[] = {"",
#define OISP_MASK_WORD(name, word) "[REDACTED:" word "]",
                                      OISP_MASKS(OISP_MASK_WORD)
#undef OISP_MASK_WORD
  };
  return oisp_buffer_append(out, "\"", (size_t)quoted) && oisp_buffer_append(out, words[kind], strlen(words[kind])) &&
         oisp_buffer_append(out, "\"", (size_t)quoted);
}

/* Plain characters behind escapes would pass unseen. */
static int hides(const uint8_t *data, size_t size) {
  for (const uint8_t *p = data, *end = data + size; (p = memchr(p, '\\', (size_t)(end - p))) != NULL;) {
    if (end - p >= 6 && p[1] == 'u' && p[2] == '0' && p[3] == '0' && p[4] >= '2' && p[4] <= '7' &&
        oisp_hex(p[5]) >= 0) {
      int v = oisp_hex(p[4]) * 16 + oisp_hex(p[5]);
      /* Some writers escape these for the sake of HTML. */
      if (v != '<' && v != '>' && v != '&' && v != '\'' && v != '"' && v != 0x7F)
        return 1;
    }
    p += end - p >= 2 ? 2 : 1;
    if (p >= end)
      break;
  }
  return 0;
}

static int quotes_between(const uint8_t *p, const uint8_t *end) {
  int n = 0;
  for (; p < end; p++)
    if (*p == '\\')
      p++;
    else
      n += *p == '"';
  return n;
}

static int is_bare_number(uint8_t c) { return is_digit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'; }

int oisp_put_masked(oisp_buffer *out, const uint8_t *data, size_t size, int value) {
  const uint8_t *p = data, *end = data + size, *done = data;
  int inside = !value, masks = 0, fresh = 1;
  ahead runs = {NULL, data, data};
  if (hides(data, size))
    return -2;
  while (p < end) {
    uint8_t c = *p;
    if (c == '\\') {
      p += end - p >= 6 && p[1] == 'u' ? 6 : end - p >= 2 ? 2 : 1;
      fresh = 1;
      continue;
    }
    if (c == '"') {
      inside = value ? !inside : inside;
      p++;
      fresh = 1;
      continue;
    }
    if (!inside) { /* a number is one word, whole or not at all */
      size_t number = run_of((text){p, end}, is_bare_number);
      if (number && card((text){p, p + number}) == number) {
        if (!oisp_buffer_append(out, done, (size_t)(p - done)) || !put_mask(out, OISP_MASK_CARD, 1))
          return -1;
        masks++;
        done = p + number;
      }
      p += number ? number : 1;
      continue;
    }
    if (!(is_word(c) || c == '+' || c == '(' || c == '-' || c == ':') || !(fresh || c == ':')) {
      fresh = !is_word(c);
      p++;
      continue;
    }
    if (is_letter(c) && !may_begin((text){p, end}, &runs)) {
      p = class_end((text){p, end}, WORD);
      fresh = 0;
      continue;
    }
    const uint8_t *from;
    size_t length;
    int kind = form_at((text){p, end}, &from, &length);
    /* Quotes between a name and its value: an odd number leads out of the string, to a number or a word. */
    int bare = value && kind && quotes_between(p, from) % 2;
    if (bare && !is_digit(*from))
      kind = OISP_MASK_NONE;
    else if (bare)
      length = run_of((text){from, end}, is_bare_number);
    if (kind == OISP_MASK_NONE) {
      fresh = !is_word(c);
      p++;
      continue;
    }
    if (!oisp_buffer_append(out, done, (size_t)(from - done)) || !put_mask(out, kind, bare))
      return -1;
    inside = value ? !bare : inside;
    masks++;
    done = p = from + length;
    fresh = 0;
  }
  return oisp_buffer_append(out, done, (size_t)(end - done)) ? masks : -1;
}
