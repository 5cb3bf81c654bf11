def test_x(daemon):
    d = daemon()
    with d.client() as c:
        assert c.echo(b"x" * 1000000) == b"x" * 1000000


def test_y(server):
    from echo import EchoClient

    with EchoClient(*server.address) as c:
        assert c.echo(b"x" * 1000000) == b"x" * 1000000
