"""A stand-in for the Kubernetes API, for Helm and kubectl: it keeps objects, checks them by Kubernetes's own schemas, and says
that what was asked for is there. It runs no pods, no controllers, no admission and no defaulting, so it shows that the chart can be
installed, upgraded, rolled back, tested and removed, and not that anything then works."""
