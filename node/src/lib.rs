//! What every node's process needs besides its own job: configuration, admin listener, logs, queues.
