# SPDX-License-Identifier: Apache-2.0
"""Who asks: the programs, frameworks and SDKs of `semconv/clients.yaml`, told from the head of a request.

Read once into flat tables (include/oisp/clients.h), which never change. What a head says is a hint, not a proof: it is what
the client chose to send.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from oisp_core.types cimport (
    OISP_CLIENT_RULES, oisp_asker, oisp_client, oisp_client_rule, oisp_clients, oisp_field, oisp_find_asker, oisp_head, oisp_slice)

import yaml

from oisp_core.errors import ConfigError

LISTS = ("apps", "frameworks", "sdks")
TEXTS = ("id", "name", "vendor", "category", "type", "agent")
CATEGORIES = ("dev_tools", "chat", "productivity", "creative", "browser", "cli", "server", "other")
TYPES = ("native", "web", "extension", "cli", "server")
AGENTS = ("ide", "cli", "browser", "server", "autonomous", "workflow", "other")
WORDS = {"category": CATEGORIES, "type": TYPES, "agent": AGENTS}
PRODUCT, PREFIX, VALUE, ANY = range(4)


def read_clients(text, file):
    """[(role, texts, session fields, [(field, text, test), ...]), ...], checked."""
    try:
        doc = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(file, message=" ".join(str(error).split())) from None
    if not isinstance(doc, dict) or set(doc) != set(LISTS):
        raise ConfigError(file, expected=f"the lists {', '.join(LISTS)}", got=doc)
    found = []
    for role, name in enumerate(LISTS):
        for row in doc[name]:
            found.append((role, *_row(row, f"{name}.{row.get('id') if isinstance(row, dict) else row}", file)))
    return found


def _row(row, where, file):
    if not isinstance(row, dict) or not {"id", "name"} <= set(row) <= {*TEXTS, "user_agent", "headers", "session"}:
        raise ConfigError(file, key=where, expected=f"id, name and some of {TEXTS}, user_agent, headers, session", got=row)
    for key, words in WORDS.items():
        if row.get(key, words[0]) not in words:
            raise ConfigError(file, key=f"{where}.{key}", expected=words, got=row[key])
    agents = row.get("user_agent", [])
    rules = []
    for product in [agents] if isinstance(agents, str) else agents:
        rules.append(("", product.removesuffix("*").lower(), PREFIX if product.endswith("*") else PRODUCT))
    for field, value in row.get("headers", {}).items():
        rules.append((field.lower(), "" if value == "*" else str(value).lower(), ANY if value == "*" else VALUE))
    session = [field.lower() for field in row.get("session", [])]
    if not rules or len(session) > 2:
        raise ConfigError(file, key=where, expected="user_agent or headers, and at most two fields of a session", got=row)
    return [row.get(key, "") for key in TEXTS], session, rules


cdef void* table_of(size_t count, size_t size) except NULL:
    cdef void* table = calloc(count + 1, size)
    if table == NULL:
        raise MemoryError
    return table


cdef class Clients:
    def __cinit__(self, bytes text, file="clients.yaml"):
        rows = read_clients(text, file)
        if sum(len(row[3]) for row in rows) > OISP_CLIENT_RULES:
            raise ConfigError(file, expected=f"at most {OISP_CLIENT_RULES} rules", got=sum(len(row[3]) for row in rows))
        self.pool = []
        self.table = <oisp_clients*> table_of(1, sizeof(oisp_clients))
        self._fill(rows)

    def __dealloc__(self):
        if self.table == NULL:
            return
        free(<void*> self.table.clients)
        free(<void*> self.table.rules)
        free(self.table)

    def __len__(self):
        return self.table.clients_count

    cdef int _text(self, oisp_slice* to, str text) except -1:
        cdef bytes raw = text.encode()
        self.pool.append(raw)
        to.data = <const uint8_t*> <const char*> raw
        to.size = len(raw)
        return 0

    cdef int _fill(self, list rows) except -1:
        cdef oisp_client* clients = <oisp_client*> table_of(len(rows), sizeof(oisp_client))
        self.table.clients = clients
        cdef oisp_client_rule* rules = <oisp_client_rule*> table_of(sum(len(r[3]) for r in rows), sizeof(oisp_client_rule))
        self.table.rules = rules
        cdef oisp_client* c
        cdef oisp_client_rule* r
        for i, (role, texts, session, tests) in enumerate(rows):
            c = &clients[i]
            c.role = role
            self._text(&c.id, texts[0])
            self._text(&c.name, texts[1])
            self._text(&c.vendor, texts[2])
            self._text(&c.category, texts[3])
            self._text(&c.type, texts[4])
            self._text(&c.agent, texts[5])
            for k, field in enumerate(session):
                self._text(&c.session[k], field)
            for field, value, test in tests:
                r = &rules[self.table.rules_count]
                self._text(&r.field, field)
                self._text(&r.text, value)
                r.client = <uint16_t> i
                r.test = test
                letter = 32 if field else ord(value[0]) & 31 if value else 0
                self.table.candidates[letter][self.table.rules_count // 64] |= <uint64_t> 1 << (self.table.rules_count % 64)
                if field and len(field) < 32 and "a" <= field[0] <= "z":
                    self.table.initials[len(field)] |= <uint32_t> 1 << (ord(field[0]) - 97)
                elif field:
                    raise ConfigError(key=field, expected="a field that begins with a letter and is shorter than 32", got=field)
                self.table.rules_count += 1
        self.table.clients_count = len(rows)
        return 0

    def find(self, list headers):
        """What these headers say: {"app": (id, version), "framework": ..., "sdk": ..., "session": [...]}, what is known of it."""
        cdef oisp_head head
        cdef oisp_asker a
        cdef oisp_field* fields = <oisp_field*> table_of(len(headers), sizeof(oisp_field))
        kept = []
        memset(&head, 0, sizeof(head))
        try:
            for i, (name, value) in enumerate(headers):
                kept.append((name.encode("latin-1"), value.encode("latin-1")))
                fields[i].name.data, fields[i].name.size = <const uint8_t*> <const char*> kept[i][0], len(kept[i][0])
                fields[i].value.data, fields[i].value.size = <const uint8_t*> <const char*> kept[i][1], len(kept[i][1])
            head.fields = fields
            head.fields_count = len(headers)
            oisp_find_asker(self.table, &head, &a)
            found = {}
            for i, role in enumerate(("app", "framework", "sdk")):
                if a.who[i] != NULL:
                    found[role] = (_str(&a.who[i].id), _str(&a.version[i]))
            session = [_str(&a.session[i]) for i in range(2) if a.session[i].size]
            return {**found, "session": session} if session else found
        finally:
            free(fields)


cdef str _str(const oisp_slice* s):
    return s.data[:s.size].decode("latin-1") if s.size else ""
