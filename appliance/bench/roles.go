package bench

import (
	"maps"

	"github.com/mailweir/mailweir/appliance/bench/helper"
	"github.com/mailweir/mailweir/appliance/bench/peers"
)

// roles are what a helper may be.
func roles() map[string]helper.Role {
	all := map[string]helper.Role{
		"probe":  helper.Of(probe),
		"burner": helper.Of(burn),
		"nas":    helper.Of(accounting),
		"reader": helper.Of(readAdmin),
		"logins": helper.Of(knock),
		"pages":  helper.Of(openPages),
	}
	maps.Copy(all, peers.Roles())
	return all
}

// Reexec is called first thing in main or TestMain, after lab.Reexec. It returns at once, except in a helper: there it
// never returns.
func Reexec() { helper.Reexec(roles()) }
