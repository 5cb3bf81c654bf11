/* An echo client as a first lesson in sockets has it: each line of at most 512 bytes goes out
 * with a NUL in its newline's place, and as many bytes are waited for.
 * Arguments: the port on 127.0.0.1. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char line[513], back[513];
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in there;

    memset(&there, 0, sizeof there);
    there.sin_family = AF_INET;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    there.sin_port = htons((unsigned short)atoi(argc > 1 ? argv[1] : "9000"));
    if (connect(connection, (struct sockaddr *)&there, sizeof there)) {
        perror("connect");
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        size_t length = strlen(line);

        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        if (send(connection, line, length, 0) != (ssize_t)length ||
            recv(connection, back, length, MSG_WAITALL) != (ssize_t)length ||
            memcmp(line, back, length)) {
            perror("echo");
            return 1;
        }
        back[length] = '\0';
        printf("%zu bytes: %s\n", length, back);
    }
    close(connection);
    return 0;
}
