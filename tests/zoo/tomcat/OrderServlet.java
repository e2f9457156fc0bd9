package shop;

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.net.Socket;

/** Asks a backend for each request, and waits for its answer without a timeout. */
public class OrderServlet extends HttpServlet {
    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response)
            throws IOException {
        response.getWriter().println(placeOrder());
    }

    private int placeOrder() throws IOException {
        int port = Integer.parseInt(getInitParameter("backend"));
        try (Socket backend = new Socket("127.0.0.1", port)) {
            return readReply(backend);
        }
    }

    private static int readReply(Socket backend) throws IOException {
        return backend.getInputStream().read();
    }
}
