"""`./hack/kube`."""

import sys

from clusters.cli import main

sys.exit(main(sys.argv[1:]))
