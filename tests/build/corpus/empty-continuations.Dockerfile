FROM a
RUN b \

\
  && c \
#x
   #y

  && d
RUN e\\
RUN f \	 
 g
CMD h \
