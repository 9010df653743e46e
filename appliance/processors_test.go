package appliance

import (
	"runtime"
	"testing"
)

// What the runtime has found out by itself, from the cgroup's quota too, is what the
// workers' processors come on top of, however often this is asked for.
func TestProcessorsComeOnTopOfTheRuntimesOwnChoice(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	runtime.SetDefaultGOMAXPROCS()
	defer runtime.SetDefaultGOMAXPROCS()
	own := runtime.GOMAXPROCS(0)
	for range 2 {
		processors(3)
		if got := runtime.GOMAXPROCS(0); got != own+3 {
			t.Errorf("%d processors, want %d and 3", got, own)
		}
	}
	t.Setenv("GOMAXPROCS", "7")
	processors(100)
	if got := runtime.GOMAXPROCS(0); got != own+3 {
		t.Errorf("the operator's word was overruled: %d", got)
	}
}
