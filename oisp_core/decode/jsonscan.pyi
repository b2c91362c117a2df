# SPDX-License-Identifier: Apache-2.0
# Nothing here is for Python: jsonscan.pxd is its interface.
