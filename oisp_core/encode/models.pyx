# SPDX-License-Identifier: Apache-2.0
"""What is publicly known of models: finding one under the names that the wire gives it, and what its use costs.

The table is `semconv/models.tsv`, read once; it is immutable, any number of engines may share it. Nothing here touches
the network, and a price that is not known is None, never 0.
"""

from libc.math cimport isnan
from libc.stdint cimport uint32_t
from oisp_core.types cimport (
    oisp_cell, oisp_cost, oisp_model, oisp_model_cost, oisp_model_match, oisp_models_find, oisp_models_free,
    oisp_models_read, oisp_service_of, oisp_tokens_used, oisp_usage_audio)

from oisp_core.errors import ConfigError


CAPABILITIES = ("vision", "function_calling", "streaming", "json_mode", "system_messages", "reasoning", "web_search",
                "code_execution")
COMPONENTS = ("in", "out", "cached", "write", "write_1h", "reasoning", "audio_in", "audio_out", "audio_cached",
              "request")
SERVICES = ("standard", "batch", "flex", "priority")


cdef oisp_model_match find_model(Models models, bytes provider, bytes name):
    return oisp_models_find(models.table, <const char*> provider, len(provider),
                            <const unsigned char*> <const char*> name, len(name))


cdef str text_of(oisp_cell cell):
    return cell.data[:cell.size].decode()


cdef dict describe(Models models, const oisp_model* model):
    prices = {}
    for k in range(model.price, model.price + model.prices):
        row = {}
        for i in range(9):
            if not isnan(models.table.price[k].usd[i]):
                row[COMPONENTS[i]] = models.table.price[k].usd[i]
        prices[SERVICES[models.table.price[k].service], models.table.price[k].above] = row
    return {
        "provider": text_of(model.provider),
        "id": text_of(model.id),
        "family": text_of(model.family) or None,
        "name": text_of(model.name) or None,
        "context_window": model.context or None,
        "max_output_tokens": model.output or None,
        "mode": text_of(model.mode) or None,
        "capabilities": [CAPABILITIES[i] for i in range(8) if model.capabilities >> i & 1],
        "modalities": text_of(model.modalities) or None,
        "retires": text_of(model.retires) or None,
        "prices": prices,
        "source": text_of(model.source),
    }


cdef class Models:
    def __cinit__(self, bytes text, file="models.tsv"):
        cdef uint32_t bad = 0
        self.table = oisp_models_read(<const char*> text, len(text), &bad)
        if self.table == NULL and bad:
            raise ConfigError(file, bad, expected="13 columns: provider, id, ..., prices as component=USD, source")
        if self.table == NULL:
            raise MemoryError

    def __dealloc__(self):
        oisp_models_free(self.table)

    def __len__(self):
        return self.table.count

    def __iter__(self):
        for i in range(self.table.count):
            yield describe(self, &self.table.model[i])

    def find(self, str provider, str name):
        """(facts, priced), or None. `priced` is false where the facts are those of another provider's model, or of the
        model behind a free or tuned variant: then its prices do not hold."""
        cdef bytes p = provider.encode(), n = name.encode()
        cdef oisp_model_match match = find_model(self, p, n)
        return None if match.model == NULL else (describe(self, match.model), bool(match.priced))

    def cost(self, str provider, str name, *, prompt, completion=None, cached=None, cache_write=None,
             cache_write_1h=None, reasoning=None, audio_in=None, audio_out=None, audio_cached=None, str service=""):
        """(input, output, request) in US dollars, or None where no price is known for this or the numbers contradict
        each other; most models have no price of a request itself, which is 0 then. Tokens are those of an event: prompt
        includes cached and cache writes, completion includes reasoning, and both their audio; `audio_cached` is that part
        of `audio_in` which was read from a cache."""
        cdef bytes p = provider.encode(), n = name.encode(), s = service.encode()
        cdef oisp_model_match match = find_model(self, p, n)
        cdef oisp_tokens_used used
        cdef oisp_cost cost
        used.prompt = prompt
        used.completion = -1 if completion is None else completion
        used.cached = -1 if cached is None else cached
        used.cache_write = -1 if cache_write is None else cache_write
        used.cache_write_1h = -1 if cache_write_1h is None else cache_write_1h
        used.reasoning = -1 if reasoning is None else reasoning
        used.audio_in = -1 if audio_in is None else audio_in
        used.audio_out = -1 if audio_out is None else audio_out
        used.audio_cached = -1 if audio_cached is None else audio_cached
        if match.model == NULL or not match.priced:
            return None
        cdef int tier = oisp_service_of(<const unsigned char*> <const char*> s, len(s))
        if not oisp_model_cost(self.table, match.model, tier, &used, &cost):
            return None
        return cost.input, cost.output, cost.request

    @staticmethod
    def audio_of(bytes usage not None):
        """Tokens of audio that a provider's usage object (JSON) counts: of the prompt, of the answer, of the cache."""
        cdef oisp_tokens_used used
        oisp_usage_audio(<const unsigned char*> <const char*> usage, len(usage), &used)
        return used.audio_in, used.audio_out, used.audio_cached

    def time_find(self, str provider, str name, unsigned rounds):
        """Looks it up `rounds` times. For benchmarks."""
        cdef bytes p = provider.encode(), n = name.encode()
        cdef unsigned _i
        cdef oisp_model_match match
        cdef const char* provider_data = p
        cdef const unsigned char* name_data = n
        cdef size_t provider_size = len(p), name_size = len(n)
        for _i in range(rounds):
            match = oisp_models_find(self.table, provider_data, provider_size, name_data, name_size)
        return match.model != NULL
