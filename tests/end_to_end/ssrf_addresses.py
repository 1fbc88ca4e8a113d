"""Where scenario_ssrf.py has servers, and the URLs that try to get to those that are not public."""

PUBLIC = "93.184.216.34"

# Of the namespace: one public address, all others must not be reached.
ADDRESSES = [f"{PUBLIC}/32", "169.254.169.254/32", "169.254.170.2/32", "10.1.2.3/32", "10.2.0.1/32", "172.16.0.1/32",
             "192.168.1.1/32", "100.64.0.1/32", "100.100.100.200/32", "198.18.0.1/32", "192.0.0.192/32",
             "168.63.129.16/32", "fd00::1/128", "fd00:ec2::254/128", "fc00::1/128", "fe80::1/64", "fec0::1/128",
             "64:ff9b::a9fe:a9fe/128", "64:ff9b::7f00:1/128", "64:ff9b:1::1/128", "2002:7f00:1::1/128",
             "2002:a9fe:a9fe::1/128", "2001::1/128", "2001:db8::1/128"]

VECTORS = [
    # loopback, in all its spellings
    "http://127.0.0.1/", "http://127.0.0.1:8080/", "http://localhost/", "http://LOCALHOST/", "http://localhost./",
    "http://127.1/", "http://127.0.1/", "http://127.9.9.9/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/",
    "http://0x7f.0x0.0x0.0x1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.000.000.001/", "http://0/",
    "http://0.0.0.0/", "http://[::1]/", "http://[::]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "http://127\u30020\u30020\u30021/",
    # metadata of clouds
    "http://169.254.169.254/latest/meta-data/", "http://169.254.170.2/", "http://2852039166/", "http://0xa9fea9fe/",
    "http://0xa9.0xfe.0xa9.0xfe/", "http://0251.0376.0251.0376/", "http://169.254.43518/", "http://169.16689662/",
    "http://[::ffff:169.254.169.254]/", "http://[::ffff:a9fe:a9fe]/", "http://[fd00:ec2::254]/",
    "http://100.100.100.200/", "http://192.0.0.192/", "http://168.63.129.16/",
    # private and special networks
    "http://10.1.2.3/", "http://172.16.0.1/", "http://192.168.1.1/", "http://100.64.0.1/", "http://198.18.0.1/",
    "http://[fd00::1]/", "http://[fc00::1]/", "http://[fe80::1%25lo]/", "http://[fec0::1]/", "http://[2001:db8::1]/",
    "http://255.255.255.255/", "http://224.0.0.1/", "http://240.0.0.1/",
    # IPv6 with an IPv4 address inside
    "http://[64:ff9b::169.254.169.254]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::1]/", "http://[2002:a9fe:a9fe::1]/", "http://[2001::1]/",
    # one host for the eye, another for the socket
    "http://public.test@127.0.0.1/", "http://public.test:80@169.254.169.254/", "http://127.0.0.1#@public.test/",
    "http://127.0.0.1?@public.test/", "http://public.test\\@127.0.0.1/", "http:/127.0.0.1/", "http:///127.0.0.1/",
    "http://user:pass@127.0.0.1:80/", " http://127.0.0.1/ ",
    # names
    "http://metadata.test/", "http://internal.test/", "http://loop.test/", "http://ten.test/", "http://mapped.test/",
    "http://nat64.test/",
    # other protocols
    "file:///etc/passwd", "gopher://127.0.0.1:80/_GET%20/", "dict://127.0.0.1:80/x", "ftp://127.0.0.1/",
    "ldap://127.0.0.1/", "tftp://127.0.0.1/x", "unix:///run/x", "jar:http://127.0.0.1/!/", "//127.0.0.1/",
]

# Where a public server sends those who follow.
REDIRECTS = ["http://127.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://[::1]/",
             "http://[::ffff:169.254.169.254]/", "http://10.1.2.3/", "http://loop.test/", "http://metadata.test/",
             "//127.0.0.1/", "http://public.test%40127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:80/_x",
             "http://[64:ff9b::a9fe:a9fe]/"]
