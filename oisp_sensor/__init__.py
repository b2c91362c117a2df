"""Everything that touches the machine: capture, enrichment, export, the command line."""
