/* An echo server as a first lesson in sockets has it: one client at a time, 512 bytes at most.
 * It prints its port, serves as many clients as its argument says, and ends. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int serve(int client)
{
    char room[512];
    ssize_t count;

    while ((count = recv(client, room, sizeof room - 1, 0)) > 0) {
        room[count] = '\0';
        printf("%zd bytes: %s\n", count, room);
        if (send(client, room, (size_t)count, 0) != count)
            return 1;
    }
    return count < 0;
}

int main(int argc, char **argv)
{
    int clients = argc > 1 ? atoi(argv[1]) : 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here;
    socklen_t length = sizeof here;

    memset(&here, 0, sizeof here);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, SOMAXCONN) ||
        getsockname(listener, (struct sockaddr *)&here, &length)) {
        perror("listen");
        return 1;
    }
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    while (clients-- > 0) {
        int client = accept(listener, NULL, NULL);
        if (client < 0 || serve(client)) {
            perror("client");
            return 1;
        }
        close(client);
    }
    return 0;
}
