# One SMTP session as the job on standard input says; prints how many messages the server took.
import json, smtplib, ssl, sys

job = json.load(sys.stdin)
kind = job["kind"]
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
where = dict(host=job["host"], port=job["port"], local_hostname="client.example", timeout=100)
if job.get("implicit"):
    s = smtplib.SMTP_SSL(context=tls, **where)
else:
    s = smtplib.SMTP(**where)
    s.starttls(context=tls)
if kind == "empty":
    s.close()
    print(0)
    sys.exit()
s.ehlo()
taken = 0
if job.get("login"):
    s.login(job["name"], job["password"])
if kind == "bad-login":
    try:
        s.login(job["name"], "wrong")
        sys.exit("the login was taken")
    except smtplib.SMTPAuthenticationError:
        pass
if kind == "hangup":
    s.close()
    print(0)
    sys.exit()
for i in range(job["repetition"]):
    if job.get("noise"):
        s.noop()
        s.verify("you")
    if kind == "vrfy":
        s.verify("you")
    if kind == "envelope" or job.get("broken"):
        s.mail("me@client.example")
        s.rcpt(job["addresses"][0])
        s.rset()
    if kind in ("mail", "no-one", "not-wanted"):
        try:
            s.sendmail("me@client.example", job["addresses"], job["contents"][i]["content"].encode())
            taken += 1
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):
            pass
        if job.get("reset"):
            s.rset()
s.quit()
print(taken)
