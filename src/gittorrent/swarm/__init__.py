"""Which part of a pack next, from whom, and how deep: scheduling without sockets or clocks."""
