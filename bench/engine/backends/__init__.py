"""Where tasks run: in this process, in processes of their own, or on Ray."""
