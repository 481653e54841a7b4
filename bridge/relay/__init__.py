"""Between the processes of one deployment: what a feed numbered goes to any number of edges. See docs/scaling.md."""
