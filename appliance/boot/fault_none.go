//go:build !faulty

package boot

// breakDown and mute are for tests of updates that fail: see fault.go.
func breakDown(string) {}

func mute(string) bool { return false }
