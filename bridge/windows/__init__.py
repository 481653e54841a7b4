"""The hub and the feeder as something that Windows starts by itself: a service, or a task of the Task Scheduler.

``service.py`` is their command line. Only `bridge.windows.task` and `bridge.windows.command` can be imported elsewhere.
"""
