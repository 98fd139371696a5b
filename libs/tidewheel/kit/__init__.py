"""What every service is made of: web app, Celery app, settings, auth, logs, metrics."""
