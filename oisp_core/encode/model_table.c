/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of models: reading it, finding a model under the names that the wire gives it, the arithmetic of its price.
 */
#define _GNU_SOURCE /* memmem */
#include "oisp/models.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

/* How names are compared: case folded, and `.`, `_` and blanks as `-` (claude-3.5 is claude-3-5). */
static inline char fold(char c) {
  if (c >= 'A' && c <= 'Z')
    return (char)(c | 0x20);
  return c == '.' || c == '_' || c == ' ' ? '-' : c;
}

static uint32_t hash_more(uint32_t h, const char *p, size_t size) {
  for (size_t i = 0; i < size; i++)
    h = (h ^ (uint8_t)fold(p[i])) * 16777619u;
  return h;
}

static uint32_t hash_of(const char *provider, size_t provider_size, const char *id, size_t id_size) {
  uint32_t h = hash_more(2166136261u, provider, provider_size);
  h = hash_more((h ^ 0x2f) * 16777619u, id, id_size);
  return h ^ h >> 15;
}

static int same(const char *a, size_t a_size, const char *b, size_t b_size) {
  if (a_size != b_size)
    return 0;
  for (size_t i = 0; i < a_size; i++)
    if (fold(a[i]) != fold(b[i]))
      return 0;
  return 1;
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t digits_before(const char *id, size_t size) {
  size_t n = 0;
  while (n < size && is_digit(id[size - 1 - n]))
    n++;
  return n;
}

/* The length without `-v1:0`, or `size`: Bedrock's version of a model, which its answers leave out. */
static size_t without_version(const char *id, size_t size) {
  size_t n = digits_before(id, size), left = size;
  if (n && size > n + 1 && id[size - n - 1] == ':')
    left = size - n - 1;
  n = digits_before(id, left);
  return n && left > n + 2 && id[left - n - 1] == 'v' && id[left - n - 2] == '-' ? left - n - 2 : size;
}

/* Whether a model goes under this name: its id, one of its aliases, or the last part of its path. */
static int named(const oisp_model *model, const char *id, size_t size) {
  const char *p = model->id.data, *end = p + model->id.size;
  if (same(p, model->id.size, id, size))
    return 1;
  for (const char *at = p; at < end; at++)
    if ((*at == '/' || *at == '.') && (same(at + 1, (size_t)(end - at - 1), id, size) ||
                                       same(at + 1, without_version(at + 1, (size_t)(end - at - 1)), id, size)))
      return 1;
  p = model->aliases.data;
  end = p + model->aliases.size;
  while (p < end) {
    const char *comma = memchr(p, ',', (size_t)(end - p));
    const char *stop = comma ? comma : end;
    if (same(p, (size_t)(stop - p), id, size))
      return 1;
    p = stop + 1;
  }
  return 0;
}

/* ---- reading ---- */

static void insert(const oisp_models *m, uint32_t *slots, uint32_t hash, uint32_t index) {
  uint32_t at = hash & m->mask;
  while (slots[at])
    at = (at + 1) & m->mask;
  slots[at] = index + 1;
}

static void insert_name(oisp_models *m, uint32_t index, const char *name, size_t size) {
  const oisp_model *model = &m->model[index];
  insert(m, m->by_pair, hash_of(model->provider.data, model->provider.size, name, size), index);
  insert(m, m->by_id, hash_of(NULL, 0, name, size), index);
}

/* Under the name that its vendor gives it, as answers of the model's own API do. */
static void insert_vendors(oisp_models *m, uint32_t index, const char *name, size_t size) {
  size_t bare = without_version(name, size);
  insert_name(m, index, name, size);
  if (bare != size)
    insert_name(m, index, name, bare);
}

static void insert_model(oisp_models *m, uint32_t index) {
  const oisp_model *model = &m->model[index];
  const char *p = model->id.data, *end = p + model->id.size;
  insert_name(m, index, p, model->id.size);
  for (const char *at = end; at > p; at--) /* the last part of a path; behind a vendor's dot */
    if (at[-1] == '/') {
      insert(m, m->by_id, hash_of(NULL, 0, at, (size_t)(end - at)), index);
      break;
    }
  const char *dot = memchr(p, '.', model->id.size);
  if (dot != NULL && model->provider.size == 11 && memcmp(model->provider.data, "aws_bedrock", 11) == 0)
    insert_vendors(m, index, dot + 1, (size_t)(end - dot - 1));
  for (p = model->aliases.data, end = p + model->aliases.size; p < end;) {
    const char *comma = memchr(p, ',', (size_t)(end - p));
    const char *stop = comma ? comma : end;
    insert_name(m, index, p, (size_t)(stop - p));
    p = stop + 1;
  }
}

static int read_number(oisp_cell cell, uint32_t *out) {
  uint64_t v = 0;
  for (uint32_t i = 0; i < cell.size; i++) {
    if (cell.data[i] < '0' || cell.data[i] > '9')
      return 0;
    v = v * 10 + (uint64_t)(cell.data[i] - '0');
    if (v > UINT32_MAX)
      v = UINT32_MAX;
  }
  *out = (uint32_t)v;
  return 1;
}

static uint32_t read_capabilities(oisp_cell cell) {
  static const char *const words[] = {"vision",          "function_calling", "streaming",  "json_mode",
                                      "system_messages", "reasoning",        "web_search", "code_execution"};
  uint32_t found = 0;
  for (const char *p = cell.data, *end = p + cell.size; p < end;) {
    const char *comma = memchr(p, ',', (size_t)(end - p));
    const char *stop = comma ? comma : end;
    for (int i = 0; i < 8; i++)
      if (strlen(words[i]) == (size_t)(stop - p) && memcmp(words[i], p, (size_t)(stop - p)) == 0)
        found |= 1u << i;
    p = stop + 1;
  }
  return found;
}

/* A decimal without sign or exponent. Exact: at most 18 digits and a power of ten, both below 2**53 but for absurd prices. */
static int read_price(const char *p, const char *end, double *out) {
  uint64_t digits = 0;
  int places = -1, count = 0;
  for (; p < end; p++) {
    if (*p == '.' && places < 0)
      places = 0;
    else if (*p >= '0' && *p <= '9' && count < 18) {
      digits = digits * 10 + (uint64_t)(*p - '0');
      count += digits != 0;
      places += places >= 0;
    } else
      return 0;
  }
  double scale = 1;
  for (int i = 0; i < places; i++)
    scale *= 10;
  *out = (double)digits / scale;
  return 1;
}

static int begins(const char **p, const char *end, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(end - *p) < n || memcmp(*p, word, n) != 0)
    return 0;
  *p += n;
  return 1;
}

/* The row of prices of a service and threshold; a new one when it is not the last. NULL when memory is out. */
static oisp_price *price_row(oisp_models *m, oisp_model *model, uint32_t service, uint32_t above) {
  if (model->prices) {
    oisp_price *last = &m->price[m->prices - 1];
    if (last->service == service && last->above == above)
      return last;
  }
  if ((m->prices & (m->prices - 1)) == 0) { /* grown at powers of two */
    oisp_price *more = realloc(m->price, sizeof *more * (m->prices ? 2 * (size_t)m->prices : 1));
    if (more == NULL)
      return NULL;
    m->price = more;
  }
  oisp_price *row = &m->price[m->prices];
  row->service = service;
  row->above = above;
  for (int i = 0; i < OISP_PRICE_COMPONENTS; i++)
    row->usd[i] = NAN;
  if (model->prices++ == 0)
    model->price = m->prices;
  m->prices++;
  return row;
}

/* `batch/>200000/cached=0.3` */
static int read_component(oisp_models *m, oisp_model *model, const char *p, const char *end) {
  static const char *const services[] = {"batch/", "flex/", "priority/"};
  static const char *const names[] = {"in=",        "out=",      "cached=",    "write=",        "write_1h=",
                                      "reasoning=", "audio_in=", "audio_out=", "audio_cached=", "request="};
  uint32_t service = 0, above = 0;
  for (uint32_t i = 0; i < 3; i++)
    if (begins(&p, end, services[i]))
      service = i + 1;
  if (begins(&p, end, ">")) {
    const char *slash = memchr(p, '/', (size_t)(end - p));
    if (slash == NULL || !read_number((oisp_cell){p, (uint32_t)(slash - p)}, &above))
      return 0;
    p = slash + 1;
  }
  for (int i = 0; i < OISP_PRICE_COMPONENTS; i++)
    if (begins(&p, end, names[i])) {
      oisp_price *row = price_row(m, model, service, above);
      return row != NULL && read_price(p, end, &row->usd[i]);
    }
  return 0;
}

static int read_prices(oisp_models *m, oisp_model *model, oisp_cell cell) {
  for (const char *p = cell.data, *end = p + cell.size; p < end;) {
    const char *blank = memchr(p, ' ', (size_t)(end - p));
    const char *stop = blank ? blank : end;
    if (!read_component(m, model, p, stop))
      return 0;
    p = stop + 1;
  }
  return 1;
}

enum { COLUMNS = 13 };

static int read_line(oisp_models *m, const char *p, const char *end) {
  oisp_cell cells[COLUMNS];
  for (int i = 0; i < COLUMNS; i++) {
    const char *tab = memchr(p, '\t', (size_t)(end - p));
    if ((tab == NULL) != (i == COLUMNS - 1))
      return 0;
    const char *stop = tab ? tab : end;
    cells[i] = (oisp_cell){p, (uint32_t)(stop - p)};
    p = tab ? tab + 1 : end;
  }
  oisp_model *model = &m->model[m->count];
  *model = (oisp_model){.provider = cells[0],
                        .id = cells[1],
                        .aliases = cells[2],
                        .family = cells[3],
                        .name = cells[4],
                        .mode = cells[7],
                        .modalities = cells[9],
                        .retires = cells[10],
                        .source = cells[12],
                        .capabilities = read_capabilities(cells[8])};
  if (cells[0].size == 0 || cells[1].size == 0 || !read_number(cells[5], &model->context) ||
      !read_number(cells[6], &model->output) || !read_prices(m, model, cells[11]))
    return 0;
  m->count++;
  return 1;
}

/* Lines that may hold a model, and names that they may have, as bounds for the tables. */
static void measure(const char *text, size_t size, size_t *lines, size_t *names) {
  *lines = *names = 1;
  for (size_t i = 0; i < size; i++) {
    *lines += text[i] == '\n';
    *names += text[i] == '\n' || text[i] == ',';
  }
  *names += 2 * *lines;
}

static int make_tables(oisp_models *m, size_t names) {
  uint64_t slots = 64;
  while (slots < 2 * (uint64_t)names)
    slots *= 2;
  if (slots > 1u << 30)
    return 0;
  m->mask = (uint32_t)slots - 1;
  m->by_pair = calloc(slots, sizeof *m->by_pair);
  m->by_id = calloc(slots, sizeof *m->by_id);
  if (m->by_pair == NULL || m->by_id == NULL)
    return 0;
  for (uint32_t i = 0; i < m->count; i++)
    insert_model(m, i);
  return 1;
}

oisp_models *oisp_models_read(const char *text, size_t size, uint32_t *bad_line) {
  size_t lines, names;
  *bad_line = 0;
  measure(text, size, &lines, &names);
  oisp_models *m = calloc(1, sizeof *m);
  if (m == NULL || (m->text = malloc(size + 1)) == NULL || (m->model = calloc(lines, sizeof *m->model)) == NULL)
    goto bad;
  memcpy(m->text, text, size);
  uint32_t number = 0;
  for (const char *p = m->text, *end = p + size; p < end;) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    const char *stop = newline ? newline : end;
    number++;
    if (stop > p && *p != '#' && !read_line(m, p, stop)) {
      *bad_line = number;
      goto bad;
    }
    p = stop + 1;
  }
  if (make_tables(m, names))
    return m;
bad:
  oisp_models_free(m);
  return NULL;
}

void oisp_models_free(oisp_models *m) {
  if (m == NULL)
    return;
  free(m->text);
  free(m->model);
  free(m->price);
  free(m->by_pair);
  free(m->by_id);
  free(m);
}

/* ---- finding ---- */

typedef struct query {
  const oisp_models *m;
  const char *provider;
  size_t provider_size;
  int by_id; /* any provider */
} query;

static const oisp_model *lookup(const query *q, const char *id, size_t size) {
  const uint32_t *slots = q->by_id ? q->m->by_id : q->m->by_pair;
  size_t provider_size = q->by_id ? 0 : q->provider_size;
  for (uint32_t at = hash_of(q->provider, provider_size, id, size) & q->m->mask; slots[at];
       at = (at + 1) & q->m->mask) {
    const oisp_model *model = &q->m->model[slots[at] - 1];
    if ((q->by_id || same(model->provider.data, model->provider.size, q->provider, q->provider_size)) &&
        named(model, id, size))
      return model;
  }
  return NULL;
}

/* `-20241022`, `@20240620`, `-0613`, `-001`; `-2024-10-22`, `-05-20`; the length without it, or `size`. */
static size_t without_date(const char *id, size_t size) {
  size_t n = digits_before(id, size), left = size - n;
  if (left == 0 || (id[left - 1] != '-' && id[left - 1] != '@'))
    return size;
  if (n == 8 || n == 6 || n == 4 || n == 3)
    return left - 1;
  if (n != 2)
    return size;
  size_t month = digits_before(id, left - 1);
  if (month != 2 || left < 4 || id[left - 4] != '-')
    return size;
  size_t year_end = left - 4;
  return digits_before(id, year_end) == 4 && year_end > 5 && id[year_end - 5] == '-' ? year_end - 5 : year_end;
}

static int ends_with(const char *id, size_t size, const char *word) {
  size_t n = strlen(word);
  return size > n && memcmp(id + size - n, word, n) == 0;
}

/* One suffix less, the outermost first; `size` when there is none that is known to mean the same model. */
static size_t without_suffix(const char *id, size_t size, int *priced) {
  static const char *const same_model[] = {"-latest", "-preview", "-exp", "-maas"};
  static const char *const other_price[] = {":free",   ":nitro", ":floor",    ":online",
                                            ":exacto", ":beta",  ":thinking", ":extended"};
  for (size_t i = 0; i < sizeof other_price / sizeof other_price[0]; i++)
    if (ends_with(id, size, other_price[i])) {
      *priced = 0;
      return size - strlen(other_price[i]);
    }
  for (size_t i = 0; i < sizeof same_model / sizeof same_model[0]; i++)
    if (ends_with(id, size, same_model[i]))
      return size - strlen(same_model[i]);
  size_t n = digits_before(id, size);
  if (n && size > n + 1 && id[size - n - 1] == ':') /* `:0` of `-v1:0` */
    return size - n - 1;
  if (n && size > n + 2 && id[size - n - 1] == 'v' && id[size - n - 2] == '-')
    return size - n - 2;
  return without_date(id, size);
}

static const oisp_model *by_suffixes(const query *q, const char *id, size_t size, int *priced) {
  for (int i = 0; i < 8; i++) { /* each round takes something off */
    const oisp_model *found = lookup(q, id, size);
    if (found != NULL)
      return found;
    size_t shorter = without_suffix(id, size, priced);
    if (shorter == size || shorter == 0)
      return NULL;
    size = shorter;
  }
  return NULL;
}

/* Bedrock's inference profiles name a region before the vendor. */
static size_t region_prefix(const char *id, size_t size) {
  static const char *const regions[] = {"us-gov.", "global.", "apac.", "us.", "eu.", "jp.", "au.", "ca.", "sa.", "me."};
  for (size_t i = 0; i < sizeof regions / sizeof regions[0]; i++) {
    size_t n = strlen(regions[i]);
    if (size > n && memcmp(id, regions[i], n) == 0)
      return n;
  }
  return 0;
}

static const oisp_model *by_prefixes(const query *q, const char *id, size_t size, int *priced) {
  const oisp_model *found = by_suffixes(q, id, size, priced);
  size_t region = region_prefix(id, size);
  if (found == NULL && region) {
    *priced = 1;
    found = by_suffixes(q, id + region, size - region, priced);
  }
  if (found == NULL && size > 3 && memcmp(id, "ft:", 3) == 0) { /* ft:BASE:organisation:name:id */
    const char *colon = memchr(id + 3, ':', size - 3);
    size_t base = colon ? (size_t)(colon - id) : size;
    *priced = 1;
    found = lookup(q, id, base);
    if (found == NULL) {
      *priced = 0;
      found = by_suffixes(q, id + 3, base - 3, priced);
    }
  }
  return found;
}

/* The whole name, then what follows each slash: paths of a vendor, of a deployment, of an ARN. */
static const oisp_model *by_paths(const query *q, const char *id, size_t size, int *priced) {
  for (;;) {
    *priced = 1;
    const oisp_model *found = by_prefixes(q, id, size, priced);
    const char *slash = found ? NULL : memchr(id, '/', size);
    if (slash == NULL)
      return found;
    size -= (size_t)(slash + 1 - id);
    id = slash + 1;
  }
}

oisp_model_match oisp_models_find(const oisp_models *m, const char *provider, size_t provider_size, const uint8_t *name,
                                  size_t name_size) {
  char id[256];
  int priced = 1;
  oisp_model_match match = {NULL, 0};
  if (m == NULL || name_size == 0 || name_size >= sizeof id)
    return match;
  for (size_t i = 0; i < name_size; i++)
    id[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
  query q = {m, provider, provider_size, 0};
  match.model = provider_size ? by_paths(&q, id, name_size, &priced) : NULL;
  match.priced = match.model != NULL && priced;
  if (match.model == NULL) {
    q.by_id = 1;
    match.model = by_paths(&q, id, name_size, &priced);
  }
  return match;
}

/* ---- cost ---- */

/* The prices of a service for this prompt: what a row above a threshold does not say, rows below do, and what a service does
 * not say, the standard one does; NaN where none does. The whole request is paid at the price of its tier, as providers
 * have it. 0: the service has no prices. */
static int effective(const oisp_models *m, const oisp_model *model, int service, int64_t prompt, double *usd) {
  int found = 0;
  for (int i = 0; i < OISP_PRICE_COMPONENTS; i++)
    usd[i] = NAN;
  for (uint32_t k = 0; k < model->prices; k++) {
    const oisp_price *row = &m->price[model->price + k];
    if ((row->service && (int)row->service != service) || (row->above && prompt <= (int64_t)row->above))
      continue;
    found |= (int)row->service == service;
    for (int i = 0; i < OISP_PRICE_COMPONENTS; i++)
      if (!isnan(row->usd[i]))
        usd[i] = row->usd[i];
  }
  return found;
}

static inline int64_t or_zero(int64_t v) { return v < 0 ? 0 : v; }

/* Of `audio` tokens those that have a price of their own; -1: they should have one, and it is not known. */
static int64_t own_price(const oisp_model *model, double usd, int64_t audio, int answer) {
  if (audio <= 0 || !isnan(usd))
    return or_zero(audio);
  const char *from = model->modalities.data, *end = from + model->modalities.size;
  const char *arrow = memchr(from, '>', (size_t)(end - from));
  if (answer)
    from = arrow ? arrow : end;
  else
    end = arrow ? arrow : end;
  return memmem(from, (size_t)(end - from), "audio", 5) ? -1 : 0;
}

/* Each token is paid once, at the most particular price there is for it. */
typedef struct {
  int64_t fresh, cached, write, hour, audio, audio_cached; /* of the prompt */
  int64_t text, reasoning, speech;                         /* of the answer */
} shares;

static int split_tokens(const oisp_model *model, const double *usd, const oisp_tokens_used *used, shares *s) {
  s->cached = isnan(usd[OISP_PRICE_CACHED]) ? 0 : or_zero(used->cached);
  s->hour = isnan(usd[OISP_PRICE_WRITE_1H]) ? 0 : or_zero(used->cache_write_1h);
  s->write = isnan(usd[OISP_PRICE_WRITE]) ? 0 : or_zero(used->cache_write) - s->hour;
  s->audio = own_price(model, usd[OISP_PRICE_AUDIO_IN], used->audio_in, 0);
  s->audio_cached = s->cached && s->audio > 0 ? or_zero(used->audio_cached) : 0;
  s->reasoning = isnan(usd[OISP_PRICE_REASONING]) ? 0 : or_zero(used->reasoning);
  s->speech = own_price(model, usd[OISP_PRICE_AUDIO_OUT], used->audio_out, 1);
  if (s->audio < 0 || s->speech < 0 || (s->audio_cached && isnan(usd[OISP_PRICE_AUDIO_CACHED])))
    return 0;
  s->cached -= s->audio_cached;
  s->audio -= s->audio_cached;
  s->fresh = used->prompt - s->cached - s->write - s->hour - s->audio - s->audio_cached;
  s->text = or_zero(used->completion) - s->reasoning - s->speech;
  return s->fresh >= 0 && s->write >= 0 && s->cached >= 0 && s->audio >= 0 && s->text >= 0;
}

/* Tokens that are none cost nothing, whatever their price. */
static double paid(int64_t tokens, double usd) { return tokens ? (double)tokens * usd : 0; }

int oisp_model_cost(const oisp_models *m, const oisp_model *model, int service, const oisp_tokens_used *used,
                    oisp_cost *cost) {
  double usd[OISP_PRICE_COMPONENTS];
  shares s;
  if (used->prompt < 0 || service >= OISP_SERVICE_UNKNOWN || !effective(m, model, service, used->prompt, usd) ||
      isnan(usd[OISP_PRICE_IN]) || !split_tokens(model, usd, used, &s) || (s.text && isnan(usd[OISP_PRICE_OUT])))
    return 0;
  double input = paid(s.fresh, usd[OISP_PRICE_IN]) + paid(s.cached, usd[OISP_PRICE_CACHED]) +
                 paid(s.write, usd[OISP_PRICE_WRITE]) + paid(s.hour, usd[OISP_PRICE_WRITE_1H]) +
                 paid(s.audio, usd[OISP_PRICE_AUDIO_IN]) + paid(s.audio_cached, usd[OISP_PRICE_AUDIO_CACHED]);
  double output = paid(s.text, usd[OISP_PRICE_OUT]) + paid(s.reasoning, usd[OISP_PRICE_REASONING]) +
                  paid(s.speech, usd[OISP_PRICE_AUDIO_OUT]);
  cost->input = input / 1e6;
  cost->output = output / 1e6;
  cost->request = isnan(usd[OISP_PRICE_REQUEST]) ? 0 : usd[OISP_PRICE_REQUEST] / 1e3;
  return 1;
}

int oisp_service_of(const uint8_t *word, size_t size) {
  static const struct {
    const char *word;
    int service;
  } words[] = {{"default", OISP_SERVICE_STANDARD}, {"standard", OISP_SERVICE_STANDARD},
               {"auto", OISP_SERVICE_STANDARD},    {"on_demand", OISP_SERVICE_STANDARD},
               {"batch", OISP_SERVICE_BATCH},      {"flex", OISP_SERVICE_FLEX},
               {"priority", OISP_SERVICE_PRIORITY}};
  if (size == 0)
    return OISP_SERVICE_STANDARD;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (same((const char *)word, size, words[i].word, strlen(words[i].word)))
      return words[i].service;
  return OISP_SERVICE_UNKNOWN;
}

static const uint8_t *find_word(const uint8_t *at, const uint8_t *end, const char *word) {
  size_t n = strlen(word);
  for (; (size_t)(end - at) >= n && (at = memchr(at, word[0], (size_t)(end - at) - n + 1)) != NULL; at++)
    if (memcmp(at, word, n) == 0)
      return at + n;
  return NULL;
}

int64_t oisp_usage_write_1h(const uint8_t *json, size_t size) {
  const uint8_t *end = json + size, *at = find_word(json, end, "\"ephemeral_1h_input_tokens\"");
  int64_t tokens = 0;
  if (at == NULL)
    return -1;
  while (at < end && (*at == ' ' || *at == ':'))
    at++;
  for (int digits = 0; at < end && *at >= '0' && *at <= '9' && digits < 15; digits++, at++)
    tokens = tokens * 10 + (*at - '0');
  return tokens;
}

/* --- audio in a usage object --- */

enum { IN = 1, OUT = 2, CACHE = 3, USAGE_DEPTH = 8 };

typedef struct {
  const uint8_t *at, *end;
  int side[USAGE_DEPTH]; /* what the object or list at this depth tells of */
  int audio;             /* the object in hand is of modality AUDIO */
  int64_t count;         /* and counts so many tokens, -1: does not say */
} usage_pass;

static int key_is(const uint8_t *key, size_t size, const char *word) {
  return size == strlen(word) && memcmp(key, word, size) == 0;
}

static int key_begins(const uint8_t *key, size_t size, const char *word) {
  return size >= strlen(word) && memcmp(key, word, strlen(word)) == 0;
}

static int side_of(const uint8_t *key, size_t size, int outer) {
  if (key_begins(key, size, "cache"))
    return CACHE;
  if (key_begins(key, size, "prompt") || key_begins(key, size, "input"))
    return IN;
  if (key_begins(key, size, "completion") || key_begins(key, size, "output") || key_begins(key, size, "candidates") ||
      key_begins(key, size, "response"))
    return OUT;
  return outer;
}

static const uint8_t *string_end(const uint8_t *at, const uint8_t *end) {
  for (; at < end && *at != '"'; at++)
    at += *at == '\\';
  return at < end ? at : end;
}

static int64_t digits_at(const uint8_t *at, const uint8_t *end) {
  int64_t n = 0;
  if (at == end || *at < '0' || *at > '9')
    return -1;
  for (int i = 0; i < 15 && at < end && *at >= '0' && *at <= '9'; i++, at++)
    n = n * 10 + (*at - '0');
  return n;
}

static void add_audio(oisp_tokens_used *used, int side, int64_t count) {
  int64_t *to = side == IN      ? &used->audio_in
                : side == OUT   ? &used->audio_out
                : side == CACHE ? &used->audio_cached
                                : NULL;
  if (to != NULL && count > 0)
    *to += count;
}

/* A key, whose value begins at p->at. */
static void usage_member(usage_pass *p, const uint8_t *key, size_t size, int depth, oisp_tokens_used *used) {
  if (key_is(key, size, "audio_tokens") || key_is(key, size, "audioTokens"))
    add_audio(used, p->side[depth], digits_at(p->at, p->end));
  else if (key_is(key, size, "modality"))
    p->audio =
        (size_t)(p->end - p->at) >= 7 && (memcmp(p->at, "\"AUDIO\"", 7) == 0 || memcmp(p->at, "\"audio\"", 7) == 0);
  else if (key_is(key, size, "tokenCount") || key_is(key, size, "token_count") || key_is(key, size, "tokens"))
    p->count = digits_at(p->at, p->end);
  if (depth + 1 < USAGE_DEPTH)
    p->side[depth + 1] = side_of(key, size, p->side[depth]);
}

/* What most say of audio is that there was none: `"audio_tokens":0`. 0: nothing else stands there. */
static int says_audio(const uint8_t *json, size_t size) {
  for (size_t i = 1; i + 4 <= size; i++) {
    if ((json[i] | 0x20) != 'u' || (json[i - 1] | 0x20) != 'a' || (json[i + 1] | 0x20) != 'd')
      continue;
    if (size - i < 15 || memcmp(json + i - 1, "audio_tokens\":0", 15) != 0 || (uint8_t)(json[i + 14] - '0') < 10)
      return 1;
  }
  return 0;
}

void oisp_usage_audio(const uint8_t *json, size_t size, oisp_tokens_used *used) {
  usage_pass p = {.at = json, .end = json + size, .count = -1};
  int depth = 0;
  used->audio_in = used->audio_out = used->audio_cached = 0;
  if (!says_audio(json, size))
    return;
  while (p.at < p.end) {
    uint8_t c = *p.at++;
    if (c == '{' || c == '[') {
      if (++depth >= USAGE_DEPTH)
        return;
      if (c == '{') {
        p.audio = 0;
        p.count = -1;
      } else if (depth + 1 < USAGE_DEPTH) {
        p.side[depth + 1] = p.side[depth]; /* its elements tell of the same */
      }
    } else if (c == '}' || c == ']') {
      if (c == '}' && p.audio && depth > 0)
        add_audio(used, p.side[depth], p.count);
      p.audio = 0;
      if (--depth < 0)
        return;
    } else if (c == '"') {
      const uint8_t *key = p.at, *stop = string_end(p.at, p.end);
      p.at = stop < p.end ? stop + 1 : p.end;
      while (p.at < p.end && *p.at <= ' ')
        p.at++;
      if (p.at == p.end || *p.at != ':')
        continue;
      for (p.at++; p.at < p.end && *p.at <= ' ';)
        p.at++;
      usage_member(&p, key, (size_t)(stop - key), depth, used);
    }
  }
}
