"""The command line: `isthmus-broker run | check | links | passwd`."""
