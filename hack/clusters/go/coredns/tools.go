//go:build tools

// Package tools names the commands that hack/kube builds, so that go.mod keeps them.
package tools

import _ "github.com/coredns/coredns"
