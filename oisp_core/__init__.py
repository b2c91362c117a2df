"""The parsing core of OISP: TLS plaintext in, OISP events out. No I/O, no clock, no threads, nothing of eBPF."""
