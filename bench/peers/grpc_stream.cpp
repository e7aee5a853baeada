// The peer of a stream between hosts: gRPC with TLS, messages of 1 MiB in one direction, as bytes without protobuf.
//
// usage: cohaul-bench-grpc-stream server ADDRESS:PORT CERTIFICATE KEY
//        cohaul-bench-grpc-stream client ADDRESS:PORT CERTIFICATE SECONDS     prints MB/s

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

namespace {

constexpr std::size_t kMessage = 1 << 20;
constexpr char kMethod[] = "/stream/pour", kName[] = "cohaul-bench";

std::string read(const char* path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

/// Returns the next event's tag. ok is set to false if the operation failed or the other end has finished.
void* next(grpc::CompletionQueue& queue, bool& ok) {
  void* tag = nullptr;
  if (!queue.Next(&tag, &ok)) std::exit(1);
  return tag;
}

/// Serves one call: receives all messages, and answers with their number.
int serve(const char* address, const char* certificate, const char* key) {
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({read(key), read(certificate)});
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::SslServerCredentials(options));
  builder.SetMaxReceiveMessageSize(-1);
  grpc::AsyncGenericService service;
  builder.RegisterAsyncGenericService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter stream(&context);
  service.RequestCall(&context, &stream, queue.get(), queue.get(), nullptr);
  bool ok = false;
  next(*queue, ok);
  std::size_t messages = 0;
  for (grpc::ByteBuffer message;;) {
    stream.Read(&message, nullptr);
    next(*queue, ok);
    if (!ok) break;
    messages += message.Length() == kMessage;
  }
  const grpc::Slice count(std::to_string(messages));
  stream.WriteAndFinish(grpc::ByteBuffer(&count, 1), {}, grpc::Status::OK, nullptr);
  next(*queue, ok);
  server->Shutdown();
  return 0;
}

int pour(const char* address, const char* certificate, double seconds) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = read(certificate);
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(kName);
  const auto channel = grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(20))) return 1;
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto stream = stub.PrepareCall(&context, kMethod, &queue);
  bool ok = false;
  stream->StartCall(nullptr);
  next(queue, ok);
  const grpc::Slice slice(std::string(kMessage, 'x'));
  const grpc::ByteBuffer message(&slice, 1);
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  std::size_t sent = 0;
  while (ok && Clock::now() - start < std::chrono::duration<double>(seconds)) {
    stream->Write(message, nullptr);
    next(queue, ok);
    ++sent;
  }
  stream->WritesDone(nullptr);
  next(queue, ok);
  grpc::ByteBuffer answer;
  stream->Read(&answer, nullptr);
  next(queue, ok);
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  std::vector<grpc::Slice> slices;
  if (!ok || !answer.Dump(&slices).ok() || slices.empty()) return 1;
  const std::string count(reinterpret_cast<const char*>(slices[0].begin()), slices[0].size());
  if (count != std::to_string(sent)) return 1;
  std::cout << static_cast<double>(sent * kMessage) / took / 1e6 << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string role = argc > 1 ? argv[1] : "";
  if (role == "server" && argc == 5) return serve(argv[2], argv[3], argv[4]);
  if (role == "client" && argc == 5) return pour(argv[2], argv[3], std::stod(argv[4]));
  std::cerr << "usage: see the head of grpc_stream.cpp\n";
  return 2;
}
