"""Who hears of a run that nobody watches: people by a notification, machines by a file of metrics."""
