import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Reads end-of-file, and keeps the socket. */
public class Leak {
    private static final List<Socket> KEPT = new ArrayList<>();

    private static Socket takeOrder(ServerSocket listener) throws Exception {
        Socket connection = listener.accept();
        KEPT.add(connection);
        return connection;
    }

    private static void serve(ServerSocket listener) throws Exception {
        while (true) {
            Socket connection = takeOrder(listener);
            while (connection.getInputStream().read() >= 0) {}
        }
    }

    public static void main(String[] arguments) throws Exception {
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        System.out.println(listener.getLocalPort());
        serve(listener);
    }
}
