/* SPDX-License-Identifier: Apache-2.0
 *
 * What is publicly known of models, compiled from semconv/models.tsv: family, limits, capabilities, prices. Immutable once
 * read, shared by any number of engines. A price belongs to a provider and a model; facts of a model are also found where
 * the provider is unknown (a gateway), and then without a price.
 */
#ifndef OISP_MODELS_H
#define OISP_MODELS_H

#include <stddef.h>
#include <stdint.h>

enum oisp_price_component {
  OISP_PRICE_IN,
  OISP_PRICE_OUT,
  OISP_PRICE_CACHED,
  OISP_PRICE_WRITE,
  OISP_PRICE_WRITE_1H,
  OISP_PRICE_REASONING,
  OISP_PRICE_AUDIO_IN,
  OISP_PRICE_AUDIO_OUT,
  OISP_PRICE_AUDIO_CACHED, /* audio read from a cache */
  OISP_PRICE_REQUEST, /* of the request itself, whatever it holds: dollars for a thousand */
  OISP_PRICE_COMPONENTS
};

enum oisp_price_service {
  OISP_SERVICE_STANDARD,
  OISP_SERVICE_BATCH,
  OISP_SERVICE_FLEX,
  OISP_SERVICE_PRIORITY,
  OISP_SERVICE_UNKNOWN /* a tier that is named and not one of these: no price */
};

enum oisp_model_capability {
  OISP_MODEL_VISION = 1,
  OISP_MODEL_FUNCTION_CALLING = 2,
  OISP_MODEL_STREAMING = 4,
  OISP_MODEL_JSON_MODE = 8,
  OISP_MODEL_SYSTEM_MESSAGES = 16,
  OISP_MODEL_REASONING = 32,
  OISP_MODEL_WEB_SEARCH = 64,
  OISP_MODEL_CODE_EXECUTION = 128
};

/* Prices of one service tier for prompts above `above` tokens: US dollars for a million tokens, NaN where unknown. */
typedef struct oisp_price {
  uint32_t service;
  uint32_t above;
  double usd[OISP_PRICE_COMPONENTS];
} oisp_price;

typedef struct oisp_cell {
  const char *data;
  uint32_t size;
} oisp_cell;

typedef struct oisp_model {
  oisp_cell provider, id, aliases, family, name, mode, modalities, retires, source;
  uint32_t context; /* tokens; 0 unknown */
  uint32_t output;
  uint32_t capabilities; /* enum oisp_model_capability */
  uint32_t price;        /* index of the first of its prices, by service, then by `above` */
  uint32_t prices;
} oisp_model;

typedef struct oisp_models {
  char *text; /* what the cells point into */
  oisp_model *model;
  oisp_price *price;
  uint32_t *by_pair; /* hash of provider and id -> 1 + index */
  uint32_t *by_id;   /* hash of the id alone */
  uint32_t count, prices, mask;
} oisp_models;

/* Reads the table; NULL when memory is out, or when a line is malformed (then *bad_line is its number, from 1). */
oisp_models *oisp_models_read(const char *text, size_t size, uint32_t *bad_line);
void oisp_models_free(oisp_models *m);

typedef struct oisp_model_match {
  const oisp_model *model; /* NULL: not known */
  int priced; /* its prices hold for what was asked: same provider, and not a free or tuned variant of it */
} oisp_model_match;

/* By provider (id as in semconv/) and the model's name as the wire has it: region prefixes, paths and ARNs, dates, versions,
 * `:free` and its like, fine-tunes and case are normalised, the exact name first. */
oisp_model_match oisp_models_find(const oisp_models *m, const char *provider, size_t provider_size, const uint8_t *name,
                                  size_t name_size);

/* Tokens as events have them: prompt with cached and cache writes, completion with reasoning; of these audio; negative: not
 * known. */
typedef struct oisp_tokens_used {
  int64_t prompt, completion, cached, cache_write, cache_write_1h, reasoning;
  int64_t audio_in, audio_out, audio_cached; /* audio_cached is in audio_in too */
} oisp_tokens_used;

typedef struct oisp_cost {
  double input, output, request; /* US dollars; the total is their sum */
} oisp_cost;

/* Audio of a model that has no price of its own for it is paid like text, unless the model is known to take or give audio:
 * then a price is missing. 0: no price for this, or numbers that contradict each other. */
int oisp_model_cost(const oisp_models *m, const oisp_model *model, int service, const oisp_tokens_used *used,
                    oisp_cost *cost);
/* Tokens of audio that a provider's usage object (valid JSON) counts: `audio_tokens` in what it says of the prompt, the answer and
 * the cache, and Gemini's lists of modalities. What it does not say is 0. */
void oisp_usage_audio(const uint8_t *json, size_t size, oisp_tokens_used *used);
/* Tokens that a usage object says were written to a cache for an hour (Anthropic's `ephemeral_1h_input_tokens`); -1: it does not
 * say. They are among those that were written to a cache. */
int64_t oisp_usage_write_1h(const uint8_t *json, size_t size);
/* The service tier that a response names; empty, "default", "standard", "auto": the standard one. */
int oisp_service_of(const uint8_t *word, size_t size);

#endif
