package clusters

import (
	"fmt"
	"time"
)

// why says in words why this is a cluster.
func (k *card) why() string {
	what := "Probably one botnet"
	if k.Looks == Update {
		what = "Probably the update of a program"
	}
	return fmt.Sprintf("%s: %d subscribers came to the same TLS client within %s, and %s; %s.",
		what, k.Came, words(k.Within), k.words("rarity"), k.words("spread"))
}

func (k *card) words(name string) string {
	for _, w := range k.Weights {
		if w.Name == name {
			return w.Words
		}
	}
	return ""
}

// doubts say why it may be none.
func (k *card) doubts() []string {
	doubts := []string{"A print tells of a TLS library and how it is set up, not of a program: different programs may have the same."}
	if k.Known*2 >= k.Came {
		doubts = append(doubts, fmt.Sprintf("%d of %d sent with another TLS client before: an update of a mail server or system that installs itself comes to many in a day, and a new release that spreads begins like this.", k.Known, k.Came))
	}
	if k.Familiar >= 0.1 {
		doubts = append(doubts, fmt.Sprintf("%.0f %% of the networks are those to which the same subscribers sent before.", 100*k.Familiar))
	}
	if k.Looks == Update && k.Familiar < 0.3 {
		doubts = append(doubts, "They all go to the same few networks, as phones and mail programs do, and bots do not.")
	}
	if k.Learnt < int(memory/(24*time.Hour)) {
		days := "a day"
		if k.Learnt != 1 {
			days = fmt.Sprintf("%d days", k.Learnt)
		}
		doubts = append(doubts, "The box had learnt for "+days+" what is common here; what is used less often than that is new to it.")
	} else {
		doubts = append(doubts, "The box remembers for six to twelve weeks of its running time who used which print: a program that comes back after a longer pause is new to it.")
	}
	if k.Shuffles {
		doubts = append(doubts, "This client sends its extensions in another order each time, so JA3 does not group it; browsers do that too.")
	}
	return append(doubts, "If it is a program you know, put its JA4 into clusters.known_good.")
}
