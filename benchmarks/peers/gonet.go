// Go's net package: one goroutine for each client. No log.
//
//	gonet PORT     (0 picks a free one; the port is the first line on stdout)
package main

import (
	"fmt"
	"log"
	"net"
	"os"
)

const bufferSize = 32 * 1024

// echo sends back what comes until the client closes. (io.Copy would be spliced by the kernel,
// which is another design than the one compared here: read, count, write.)
func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, bufferSize)
	for {
		n, err := conn.Read(buffer)
		if n > 0 {
			if _, failed := conn.Write(buffer[:n]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept() // Go has set TCP_NODELAY
		if err != nil {
			log.Fatal(err)
		}
		go echo(conn)
	}
}
