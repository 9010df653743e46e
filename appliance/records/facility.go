package records

var facilities = [24]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}

// ParseFacility reads a facility by its name (RFC 5424 section 6.2.1), false when there is none of that name.
func ParseFacility(name string) (int, bool) {
	for i, f := range facilities {
		if f == name {
			return i, true
		}
	}
	return 0, false
}
