# SPDX-License-Identifier: Apache-2.0
# C only: see rpc.pxd.
