/* SPDX-License-Identifier: Apache-2.0
 *
 * Secrets and personal data inside of text, for the policy `redacted`: what is known by its form is replaced by a word that
 * says what it was. Known forms only: a password in plain prose, a name, an address pass. docs/PRIVACY.md lists the forms.
 *
 * The text is JSON already: the inside of a string, or a whole value. What comes out is JSON again: escapes are never parted,
 * nothing outside of strings is touched but a long number, which becomes a string.
 */
#ifndef OISP_MASK_H
#define OISP_MASK_H

#include "buffer.h"
#include <stddef.h>
#include <stdint.h>

#define OISP_MASKS(X) \
  X(KEY, "key")       /* credentials with a known beginning, JWTs, long random strings */ \
  X(SECRET, \
    "secret") /* what is assigned to a password, token, secret or key; Bearer and Basic; user and password of a URL */ \
  X(PRIVATE_KEY, "private_key") \
  X(EMAIL, "email") \
  X(CARD, "card")     /* 13 to 19 digits with a valid check digit */ \
  X(PHONE, "phone") \
  X(IBAN, "iban")     /* with valid check digits */ \
  X(SSN, "ssn")

enum oisp_mask {
  OISP_MASK_NONE = 0,
#define OISP_MASK_ENUM(name, word) OISP_MASK_##name,
  OISP_MASKS(OISP_MASK_ENUM)
#undef OISP_MASK_ENUM
};

/* Append `data` to `out`, masked. `value`: it is a whole JSON value, else the inside of a string. Answers how many masks were
 * set, -1 without memory, -2 if the text hides plain characters behind escapes: then nothing was written, and it has to be
 * withheld whole. */
int oisp_put_masked(oisp_buffer *out, const uint8_t *data, size_t size, int value);

#endif
