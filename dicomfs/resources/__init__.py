"""What the machine gives, each with a limit: threads, tasks, processors, descriptors, memory."""
