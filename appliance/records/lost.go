package records

import "slices"

// losses are the words of HEALTH records of which first_seq, last_seq and seqs are numbers that are missing somewhere.
var losses = []string{"record_loss", "chain_restart"}

// Lost are the numbers that a HEALTH record says are missing, of which value gives the parameters: Record.Value or Line.Value.
func Lost(value func(string) string) Ranges {
	if !slices.Contains(losses, value("what")) {
		return nil
	}
	text := value("seqs")
	if text == "" && value("first_seq") != "" {
		text = value("first_seq") + "-" + value("last_seq")
	}
	return ParseRanges(text)
}
