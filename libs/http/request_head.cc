#include "libs/http/request_head.h"

#include <strings.h>

namespace millrace::http {
namespace {

bool IsToken(std::string_view text) {
  constexpr std::string_view kSymbols = "!#$%&'*+-.^_`|~";
  for (const char c : text) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      kSymbols.find(c) != std::string_view::npos;
    if (!good) return false;
  }
  return !text.empty();
}

bool IsTarget(std::string_view target) {
  if (target.empty()) return false;
  for (const char c : target) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\' || c == '^' ||
        c == '`' || c == '{' || c == '|' || c == '}') {
      return false;
    }
  }
  return true;
}

bool Is(std::string_view name, std::string_view lower) {
  return name.size() == lower.size() && strncasecmp(name.data(), lower.data(), name.size()) == 0;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string_view FaultOfRequestLine(std::string_view line, bool* http11) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return "malformed request line";
  if (!IsToken(line.substr(0, first))) return "malformed method";
  if (!IsTarget(line.substr(first + 1, last - first - 1))) return "malformed request target";
  const std::string_view version = line.substr(last + 1);
  *http11 = version == "HTTP/1.1";
  if (!*http11 && version != "HTTP/1.0") return "unsupported HTTP version";
  return {};
}

/// What the headers said so far about the body's length and the host.
struct Seen {
  int hosts = 0;
  int lengths = 0;
  int codings = 0;
};

std::string_view FaultOfHeader(std::string_view line, Seen* seen) {
  if (line.front() == ' ' || line.front() == '\t') return "folded header line";
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return "header line without a colon";
  const std::string_view name = line.substr(0, colon);
  if (!IsToken(name)) return "malformed header name";
  const std::string_view value = Trim(line.substr(colon + 1));
  if (Is(name, "host") && ++seen->hosts > 1) return "more than one Host header";
  if (Is(name, "content-length")) {
    if (++seen->lengths > 1) return "more than one Content-Length header";
    if (value.empty() || value.size() > 18) return "malformed Content-Length";
    for (const char c : value) {
      if (c < '0' || c > '9') return "malformed Content-Length";
    }
  }
  if (Is(name, "transfer-encoding")) {
    if (++seen->codings > 1) return "more than one Transfer-Encoding header";
    if (!Is(value, "chunked")) return "unsupported Transfer-Encoding; only chunked is known";
  }
  return {};
}

}  // namespace

std::string_view FaultOfHead(std::string_view head) {
  for (size_t i = 0; i < head.size(); ++i) {
    const auto byte = static_cast<unsigned char>(head[i]);
    if (head[i] == '\r' && (i + 1 >= head.size() || head[i + 1] != '\n')) return "bare CR";
    if (head[i] == '\n' && (i == 0 || head[i - 1] != '\r')) return "bare LF";
    if ((byte < 0x20 && head[i] != '\r' && head[i] != '\n' && head[i] != '\t') || byte == 0x7f) {
      return "control character in the head";
    }
  }
  size_t end = head.find("\r\n");
  if (end == std::string_view::npos) return "malformed request line";
  bool http11 = false;
  if (const auto fault = FaultOfRequestLine(head.substr(0, end), &http11); !fault.empty()) return fault;
  Seen seen;
  for (size_t start = end + 2; start < head.size(); start = end + 2) {
    end = head.find("\r\n", start);
    if (end == std::string_view::npos) return "malformed header line";
    if (end == start) break;
    const auto fault = FaultOfHeader(head.substr(start, end - start), &seen);
    if (!fault.empty()) return fault;
  }
  if (http11 && seen.hosts == 0) return "missing Host header";
  if (seen.lengths > 0 && seen.codings > 0) return "both Content-Length and Transfer-Encoding";
  if (!http11 && seen.codings > 0) return "Transfer-Encoding in an HTTP/1.0 request";
  return {};
}

}  // namespace millrace::http
