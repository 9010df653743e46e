//go:build noestimate

package session

const estimating = false
