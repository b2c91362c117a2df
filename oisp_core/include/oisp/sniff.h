/* SPDX-License-Identifier: Apache-2.0
 *
 * What the first bytes of a direction, or of a segment in its middle, can be told to be.
 */
#ifndef OISP_SNIFF_H
#define OISP_SNIFF_H

enum oisp_sniffed {
  OISP_SNIFF_MORE = 0,           /* too few bytes to tell */
  OISP_SNIFF_UNKNOWN = 1,        /* none of these */
  OISP_SNIFF_HTTP1_REQUEST = 2,
  OISP_SNIFF_HTTP1_RESPONSE = 3,
  OISP_SNIFF_HTTP2_PREFACE = 4,  /* the client's, from the start */
  OISP_SNIFF_HTTP2_SETTINGS = 5, /* the server's first frame */
  OISP_SNIFF_HTTP2_FRAMES = 6,   /* frames in the middle of a connection */
  OISP_SNIFF_TLS = 7,
  OISP_SNIFF_WEBSOCKET = 8       /* whole text frames that hold JSON, in the middle of a connection */
};

#endif
