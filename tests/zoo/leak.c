/* Programs that leak sockets, each in its own way: `leak MODE [PORT]`.
 *
 * A mode that accepts prints the port on which it listens; one that connects
 * is given the port. Each stays until it is killed. Functions are kept out of
 * line and told apart by their work, so that a call stack can be expected by
 * name. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEEP __attribute__((noinline, noclone))
enum { MANY = 100000 };
/* Connections that a listener lets wait. */
enum { SHORT = 64, LONG = 4096 };

static void check(long result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int listen_here(int backlog) {
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(listener, "socket");
    check(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    check(listen(listener, backlog), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* A leak ends at the limit of descriptors, which is low by default: as many as
 * this machine allows, up to MANY and some. */
static int allow_descriptors(void) {
    enum { SOME = 1000 };
    struct rlimit limit;
    check(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    struct rlimit most = {.rlim_cur = MANY + SOME, .rlim_max = MANY + SOME};
    if (setrlimit(RLIMIT_NOFILE, &most) < 0) {
        most.rlim_cur = most.rlim_max = limit.rlim_max;
        check(setrlimit(RLIMIT_NOFILE, &most), "setrlimit");
    }
    return most.rlim_cur - SOME;
}

/* Fills the table up to a number, so that what follows comes behind. */
static void fill_table(int most) {
    for (int fd = 0; fd < most;) {
        fd = dup(STDIN_FILENO);
        check(fd, "dup");
    }
}

/* Never a tail call: the caller's frame has to be there. */
static volatile int sink;

KEEP static int take_connection(int listener) {
    int fd = accept(listener, NULL, NULL);
    check(fd, "accept");
    sink = fd;
    return fd;
}

KEEP static int serve_order(int listener) {
    int fd = take_connection(listener);
    sink += 1;
    return fd;
}

KEEP static void read_request(int fd) {
    char buffer[512];
    while (read(fd, buffer, sizeof buffer) > 0)
        sink += 1;
    sink += 2;
}

KEEP static int open_backend(int port) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd, "socket");
    check(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    sink = fd;
    return fd;
}

KEEP static int borrow_from_pool(int port) {
    int fd = open_backend(port);
    sink += 1;
    return fd;
}

static void pass_on(int channel, int fd) {
    char byte = 'f', control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    check(sendmsg(channel, &message, 0), "sendmsg");
}

static void receive_and_keep(int channel) {
    for (;;) {
        char byte, control[CMSG_SPACE(sizeof(int))];
        struct iovec data = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {.msg_iov = &data,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof control};
        if (recvmsg(channel, &message, 0) <= 0)
            pause();
    }
}

/* A child that dies with its parent. */
static pid_t child(void) {
    pid_t pid = fork();
    check(pid, "fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* Answers and closes everybody in good time: no leak, unless it is stopped. */
KEEP static void serve_well(int listener) {
    enum { MOST = 64 };
    struct pollfd all[MOST] = {{.fd = listener, .events = POLLIN}};
    for (int count = 1;;) {
        check(poll(all, count, -1), "poll");
        for (int n = count - 1; n > 0; n--) {
            char buffer[512];
            if (all[n].revents == 0)
                continue;
            ssize_t got = read(all[n].fd, buffer, sizeof buffer);
            if (got > 0 && write(all[n].fd, buffer, got) == got)
                continue;
            close(all[n].fd);
            all[n] = all[--count];
        }
        if (all[0].revents != 0 && count < MOST)
            all[count++] = (struct pollfd){.fd = take_connection(listener), .events = POLLIN};
    }
}

static void *connect_and_end(void *port) {
    borrow_from_pool(*(int *)port);
    return NULL;
}

/* Workers that wait: most for a backend to be free, two for its answer; and one
 * that computes. */
static pthread_mutex_t backend_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t backend_free = PTHREAD_COND_INITIALIZER;
static volatile int free_backends;

KEEP static void wait_for_backend(void) {
    pthread_mutex_lock(&backend_lock);
    while (free_backends == 0)
        pthread_cond_wait(&backend_free, &backend_lock);
    pthread_mutex_unlock(&backend_lock);
    sink += 1;
}

static void *queue_for_backend(void *unused) {
    wait_for_backend();
    sink += 2;
    return unused;
}

KEEP static void ask_backend(int port) {
    char buffer[512];
    int fd = open_backend(port);
    sink = read(fd, buffer, sizeof buffer);
}

static void *ask_and_wait(void *port) {
    ask_backend(*(int *)port);
    sink += 1;
    return NULL;
}

static void *compute(void *unused) {
    for (volatile unsigned n = 0;; n = n + 1)
        ;
    return unused;
}

static void start(void *(*work)(void *), int *port) {
    pthread_t thread;
    check(-pthread_create(&thread, NULL, work, port), "pthread_create");
}

KEEP static void be_stuck(int *port) {
    enum { QUEUED = 18, ASKING = 2 };
    for (int n = 0; n < QUEUED; n++)
        start(queue_for_backend, port);
    for (int n = 0; n < ASKING; n++)
        start(ask_and_wait, port);
    start(compute, port);
    for (int listener = listen_here(LONG);;)
        serve_order(listener);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    int port = argc > 2 ? atoi(argv[2]) : 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (strcmp(mode, "never-closed") == 0) {
        allow_descriptors();
        for (int listener = listen_here(LONG);;)
            read_request(serve_order(listener));
    } else if (strcmp(mode, "behind-many") == 0) {
        fill_table(allow_descriptors());
        for (int listener = listen_here(LONG);;)
            read_request(serve_order(listener));
    } else if (strcmp(mode, "not-read") == 0) {
        for (int listener = listen_here(LONG);;)
            serve_order(listener);
    } else if (strcmp(mode, "never-accepted") == 0) {
        listen_here(SHORT);
    } else if (strcmp(mode, "forked") == 0) {
        for (int listener = listen_here(LONG);;) {
            int fd = serve_order(listener);
            if (child() == 0)
                for (;;)
                    pause();
            close(fd);
        }
    } else if (strcmp(mode, "passed") == 0) {
        int channel[2];
        check(socketpair(AF_UNIX, SOCK_STREAM, 0, channel), "socketpair");
        if (child() == 0)
            receive_and_keep(channel[1]);
        for (int listener = listen_here(LONG);;) {
            int fd = serve_order(listener);
            pass_on(channel[0], fd);
            close(fd);
        }
    } else if (strcmp(mode, "doubled") == 0) {
        for (int listener = listen_here(LONG);;) {
            int fd = serve_order(listener), twin = dup(fd);
            check(twin, "dup");
            close(fd);
            read_request(twin);
        }
    } else if (strcmp(mode, "slow") == 0) {
        for (int listener = listen_here(LONG);;) {
            int fd = serve_order(listener);
            read_request(fd);
            usleep(500 * 1000);
            close(fd);
        }
    } else if (strcmp(mode, "well") == 0) {
        serve_well(listen_here(LONG));
    } else if (strcmp(mode, "pool") == 0) {
        for (int n = 0; n < 5; n++)
            borrow_from_pool(port);
    } else if (strcmp(mode, "half-closed") == 0) {
        int fd = borrow_from_pool(port);
        check(shutdown(fd, SHUT_WR), "shutdown");
        read_request(fd);
    } else if (strcmp(mode, "ended-thread") == 0) {
        pthread_t thread;
        check(-pthread_create(&thread, NULL, connect_and_end, &port), "pthread_create");
        pthread_join(thread, NULL);
    } else if (strcmp(mode, "stuck") == 0) {
        be_stuck(&port);
    } else {
        fprintf(stderr, "no such mode: %s\n", mode);
        return 2;
    }
    for (;;)
        pause();
}
