"""The command isthmus-operator."""
