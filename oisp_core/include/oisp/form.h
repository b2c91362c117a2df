/* SPDX-License-Identifier: Apache-2.0
 *
 * A form in flight (multipart/form-data): its fields as one flat object of JSON. See form.pyx.
 */
#ifndef OISP_FORM_H
#define OISP_FORM_H

#include "buffer.h"
#include "multipart.h"
#include <stdint.h>

typedef struct oisp_form {
  oisp_multipart parser;
  oisp_buffer json; /* members so far */
  uint32_t json_max;
  uint8_t cut; /* a value, or the form, is not whole */
} oisp_form;

#endif
