//go:build tools

// Package tools names the commands that hack/kube builds, so that go.mod keeps them.
package tools

import _ "go.etcd.io/etcd/server/v3"
