package session

import "testing"

// TestAnswersThatComeLate: what msmtp and Postfix of Debian 12 said to each other, as it was captured: one message to fifty recipients, whose
// commands are acknowledged together and answered one by one.
func TestAnswersThatComeLate(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"24 +50:164 +2978:38 +157:38*50,61 +1069:61 +35:39 closed",
		"24 +50:164 +2978:38 +157:38*50,61 +1069:61 +35:39 left",
		"24 +50:164 +1514:38 +976:38 +645:38*49,61 +1069:61 +35:39 hung-up",
		"24 +50:164 +1514:38 +1525:38 +96:38*49,61 +1069:61 +35:39 hung-up",
		"17 +43:250,157 +53:31 +2636:31 +82:31*49,54 +971:54 +28:32 +24:19 closed",
		"17 +43:250,157 +1555:31 +1216:31*50,54 +971:54 +28:32,19 hung-up",
	} {
		var r Recording
		if err := r.parse(text); err != nil {
			t.Fatal(err)
		}
		if lo, hi := r.estimate(); lo > 1 || hi < 1 || hi > 2 {
			t.Errorf("%d..%d messages, there was one: %s", lo, hi, text)
		}
	}
}
